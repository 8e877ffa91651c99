"""The prefix that is known instead of computed changes nothing: the loss, the gradients and the model are the same."""

from typing import Any

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from light_peft.config import PeftConfig
from light_peft.model import Backbone, describe
from light_peft.model.head import CLASSES, SPAN
from light_peft.peft_modules import peft_kind
from light_peft.training.prefix import Prefix, frozen_depth
from model_cases import (
    DECODERS,
    SPEAKS,
    TARGETS,
    TINY,
    batch_of,
    logits,
    tiny_batch,
    tiny_config,
    tiny_model,
    with_random_lora,
)

CASES = [*((family, 1) for family in TINY), *((family + SPEAKS, 2) for family in DECODERS), ("deberta-v2", 2)]
"""Models and the depth of their prefix; in DeBERTa v2 a convolution follows the lowest block."""


def with_frozen(model: PreTrainedModel, depth: int) -> tuple[nn.Module, Backbone]:
    """Return the model with LoRA that trains in the layers from `depth` on."""
    peft_model, backbone = with_random_lora(model)
    for name, parameter in peft_model.named_parameters():
        if ".lora_" in name and backbone.layer_of(name.removeprefix("base_model.model.")) < depth:
            parameter.requires_grad_(False)
    return peft_model, backbone


def depth_of(model: nn.Module, bare: PreTrainedModel) -> int:
    backbone = describe(bare)
    return frozen_depth(model, [bare.get_submodule(path) for path in backbone.blocks], backbone.head_modules)


def without_padding(states_BTD: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the states with zeros where there is padding, as they come from a file."""
    return states_BTD * batch["attention_mask"].unsqueeze(-1)


def loss_and_gradients(model: nn.Module, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    trained = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return trained | {"loss": loss.detach()}


@pytest.mark.parametrize(("family", "depth"), CASES)
def test_a_known_prefix_changes_neither_loss_nor_gradients(family: str, depth: int) -> None:
    bare, batch = tiny_model(family), batch_of(family)
    model, backbone = with_frozen(bare, depth)
    assert depth_of(model, bare) == depth
    before, expected = logits(model, batch), loss_and_gradients(model, model(**batch).loss)
    prefix = Prefix(bare, backbone.blocks, depth)
    with torch.no_grad():
        states_BTD = prefix.states(lambda: model(**batch))
    ran: list[int] = []
    hooks = [
        bare.get_submodule(path).register_forward_hook(lambda *_, layer=layer: ran.append(layer))
        for layer, path in enumerate(backbone.blocks)
    ]
    with prefix.known(without_padding(states_BTD, batch)):
        loss = model(**batch).loss
    found = loss_and_gradients(model, loss)
    assert ran == list(range(depth, backbone.num_layers))
    assert found.keys() == expected.keys()
    assert len(found) > 6
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=2e-5)
    for hook in hooks:
        hook.remove()
    assert torch.equal(logits(model, batch), before)


def test_the_states_are_what_the_block_above_takes() -> None:
    """And nothing above is run for them."""
    bare, batch = tiny_model("bert"), tiny_batch()
    prefix = Prefix(bare, describe(bare).blocks, 2)
    with torch.no_grad():
        states_BTD = prefix.states(lambda: bare(**batch))
        expected = bare(**batch, output_hidden_states=True).hidden_states[2]
    assert torch.equal(states_BTD, expected)


def test_the_model_is_whole_again_when_the_pass_fails() -> None:
    bare, batch = tiny_model("bert"), tiny_batch()
    prefix = Prefix(bare, describe(bare).blocks, 1)
    blocks = [bare.get_submodule(path) for path in describe(bare).blocks]
    states_BTD = prefix.states(lambda: bare(**batch))
    with pytest.raises(RuntimeError), prefix.known(states_BTD[:, :, :3]):
        bare(**batch)
    assert [bare.get_submodule(path) for path in describe(bare).blocks] == blocks
    assert torch.equal(prefix.states(lambda: bare(**batch)), states_BTD)


def test_a_span_loss_sees_the_padding() -> None:
    """Which is why a span task goes without."""
    torch.manual_seed(0)
    bare = CLASSES[SPAN].from_config(tiny_config("bert")).eval()
    batch = {name: tiny_batch()[name] for name in ("input_ids", "attention_mask")}
    places: dict[str, Any] = dict.fromkeys(("start_positions", "end_positions"), torch.ones(5, dtype=torch.long))
    prefix = Prefix(bare, describe(bare).blocks, 1)
    with torch.no_grad():
        states_BTD, expected = prefix.states(lambda: bare(**batch)), bare(**batch, **places).loss
        with prefix.known(states_BTD):
            assert torch.equal(bare(**batch, **places).loss, expected)
        with prefix.known(without_padding(states_BTD, batch)):
            assert abs(bare(**batch, **places).loss - expected) > 1e-3


@pytest.mark.parametrize(
    ("kind", "depth"), [("lora", 0), ("full", 0), ("bitfit", 0), ("prompt_tuning", 0), ("head alone", 2)]
)
def test_what_trains_below_leaves_no_prefix(kind: str, depth: int) -> None:
    """With virtual tokens the blocks hold nothing that trains, but what lies below them does."""
    bare = tiny_model("bert")
    of_kind = peft_kind("lora" if kind == "head alone" else kind)
    model = of_kind.attach(bare, describe(bare), PeftConfig(r=4, targets=TARGETS))
    if kind == "head alone":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("classifier" in name)
    assert depth_of(model, of_kind.bare(model)) == depth
