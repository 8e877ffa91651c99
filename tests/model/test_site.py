"""Which features of a Linear belong to a group, against cases written out by hand."""

import torch

from light_peft.model import Port, describe
from model_cases import tiny_model


def test_groups_of_a_plain_and_of_a_fused_projection() -> None:
    kept = torch.tensor([0, 2])
    assert Port("x", 2).features(kept, 3).tolist() == [0, 1, 4, 5]
    assert Port("x", 2, sections=3).features(kept, 3).tolist() == [0, 1, 4, 5, 6, 7, 10, 11, 12, 13, 16, 17]
    assert Port("x", 2, sections=3).features(kept[:0], 3).tolist() == []


def test_fused_heads_lie_as_the_model_code_reads_them() -> None:
    """GPT-2 stacks all queries, keys, values; GPT-NeoX puts those of a head side by side."""
    gpt2, neox = (describe(tiny_model(family)).sites[0].producers[0] for family in ("gpt2", "gpt_neox"))
    assert (gpt2.size, gpt2.sections, neox.size, neox.sections) == (6, 3, 18, 1)


def test_a_group_is_a_key_value_head_with_its_query_heads() -> None:
    site = describe(tiny_model("qwen3")).sites[0]
    assert site.count == 2
    assert [port.size for port in site.ports] == [16, 8, 8, 16]
