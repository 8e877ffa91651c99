"""What a family says of its model is true of the model; a new family inherits these tests."""

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from light_peft.model import Port, Site, describe
from light_peft.model.cut import width_out_in
from light_peft.model.families import all_families
from model_cases import SIZES, TINY, logits, tiny_batch, tiny_config, tiny_model

families = pytest.mark.parametrize("family", sorted(TINY))


def test_every_family_is_tested() -> None:
    assert set(all_families()) == {family.split()[0] for family in TINY}


@families
def test_sites_match_the_shapes(family: str) -> None:
    model = tiny_model(family)
    backbone = describe(model)
    assert backbone.num_layers == SIZES["num_hidden_layers"]
    assert [site.layer for site in backbone.sites_of("attn")] == [0, 1, 2]
    for site in backbone.sites:
        for port in site.producers:
            assert widths(model, port)[0] == site.count * port.size * port.sections
        assert widths(model, site.consumer)[1] == site.count * site.consumer.size


@families
def test_sites_and_projections_name_the_same_linears(family: str) -> None:
    """But for DeBERTa's projections of relative positions, which see no tokens and carry no PEFT."""
    backbone = describe(tiny_model(family))
    from_sites = {port.path for site in backbone.sites for port in site.ports}
    from_projections = {path for layer in backbone.projections for paths in layer.values() for path in paths}
    positions = {path for path in from_sites if ".pos_" in path}
    assert from_sites - positions == from_projections
    assert len(positions) == (6 if family == "deberta-v2" else 0)
    assert all(path.startswith(backbone.blocks[layer]) for layer, paths in numbered(backbone.sites) for path in paths)


@families
def test_every_matrix_of_a_block_belongs_to_a_site(family: str) -> None:
    """So nothing that grows with heads or neurons is forgotten; the convolution of DeBERTa is outside the blocks."""
    model = tiny_model(family)
    backbone = describe(model)
    paths = {port.path for site in backbone.sites for port in site.ports}
    for block in backbone.blocks:
        names = [name for name, parameter in model.get_submodule(block).named_parameters() if parameter.ndim > 1]
        assert {f"{block}.{name.removesuffix('.weight')}" for name in names} <= paths


@families
def test_targets_are_distinct_and_in_order(family: str) -> None:
    backbone = describe(tiny_model(family))
    every = backbone.paths_of(["output", "value", "key", "query", "attn_output", "intermediate"])
    assert len(set(every)) == len(every)
    assert [path for block in backbone.blocks for path in every if path.startswith(f"{block}.")] == every
    fused = len(set(backbone.projections[0].values())) < 6
    assert len(backbone.paths_of(["query", "value"])) == (3 if fused else 6)


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "llama", "opt", "qwen3", "gemma3_text"])
def test_a_causal_language_model_has_the_same_sites(family: str) -> None:
    model = AutoModelForCausalLM.from_config(tiny_config(family))
    backbone, classifier = describe(model), describe(tiny_model(family))
    assert backbone.sites == classifier.sites
    assert (backbone.head_modules, classifier.head_modules) == ((), ("score",))
    for site in backbone.sites:
        assert widths(model, site.consumer)[1] == site.count * site.consumer.size


@families
def test_padding_changes_nothing(family: str) -> None:
    """The logits of a row are the same alone and in a longer batch; decoders read them at the last real token."""
    model, batch = tiny_model(family), tiny_batch(length=20)
    together = logits(model, batch)
    for row, length in enumerate(batch["attention_mask"].sum(dim=1).tolist()):
        alone = logits(model, {name: batch[name][row : row + 1, :length] for name in ("input_ids", "attention_mask")})
        torch.testing.assert_close(together[row : row + 1], alone, atol=2e-5, rtol=1e-4)


@families
def test_the_head_is_outside_the_blocks(family: str) -> None:
    model = tiny_model(family)
    backbone = describe(model)
    assert backbone.head_modules
    for name, _ in model.named_parameters():
        in_head = bool(set(name.split(".")) & set(backbone.head_modules))
        assert not (in_head and any(name.startswith(block) for block in backbone.blocks))


def widths(model: nn.Module, port: Port) -> tuple[int, int]:
    return width_out_in(model.get_submodule(port.path))


def numbered(sites: tuple[Site, ...]) -> list[tuple[int, list[str]]]:
    return [(site.layer, [port.path for port in site.ports]) for site in sites]
