"""Activations computed again: the same gradients, less is kept, and the model is as before afterwards."""

import copy

import pytest
import torch
from torch import nn

from light_peft import door
from light_peft.config import Config
from light_peft.model import describe
from light_peft.model.checkpointing import recomputing
from light_peft.peft_modules import check_model, peft_kind
from matrix import attach_random, columns, configured
from model_cases import TINY, tiny_batch, tiny_model, with_random_lora

door.register()
LORA = peft_kind("lora")
families = pytest.mark.parametrize("family", sorted(TINY))


def gradients(model: nn.Module) -> tuple[dict[str, torch.Tensor], int]:
    """Return the gradients of one batch, dropout included, and the bytes that were kept for them."""
    torch.manual_seed(3)
    kept: dict[int, torch.Tensor] = {}
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.setdefault(id(x), x), lambda x: x):
        loss = model(**tiny_batch()).loss
    loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found, sum({x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in kept.values()}.values())


def assert_the_same(model: nn.Module, kind: str) -> None:
    """The gradients are the same, through the same dropout, and what is kept for the backward pass is less."""
    bare = peft_kind(kind).bare(model)
    model.train()
    plain, all_bytes = gradients(model)
    with recomputing(bare, True):
        again, kept_bytes = gradients(model)
    torch.testing.assert_close(again, plain, rtol=1e-4, atol=1e-6)  # sums may come in another order
    assert kept_bytes < 0.8 * all_bytes


@families
def test_gradients_are_the_same_and_less_is_kept(family: str) -> None:
    model, _ = with_random_lora(tiny_model(family), dropout=0.1)
    LORA.bare(model).config.problem_type = "single_label_classification"  # which the first loss would find out
    before = copy.deepcopy(LORA.bare(model).config.to_dict())
    assert_the_same(model, "lora")
    assert LORA.bare(model).config.to_dict() == before
    assert not LORA.bare(model).is_activation_checkpointing
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("column", ["bottleneck", "bottleneck parallel", "ia3", "bitfit", "prompt_tuning"])
def test_other_kinds_too(column: str) -> None:
    config = configured(*columns()[column])
    model, _ = attach_random(config, tiny_model("roberta"))
    assert_the_same(model, config.peft.kind)


def test_the_backward_pass_ends_where_nothing_trains() -> None:
    model, backbone = with_random_lora(tiny_model("bert"))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and "layer.0." not in name and "layer.1." not in name)
    runs = [0] * backbone.num_layers
    for layer, path in enumerate(backbone.blocks):

        def count(*_: object, layer: int = layer) -> None:
            runs[layer] += 1

        LORA.bare(model).get_submodule(f"{path}.attention").register_forward_hook(count)
    model.train()
    with recomputing(LORA.bare(model), True):
        gradients(model)
    assert runs == [1, 1, 2]


def test_evaluation_and_a_switch_that_is_off_compute_once() -> None:
    model, _ = with_random_lora(tiny_model("bert"))
    with recomputing(LORA.bare(model), False):
        assert not LORA.bare(model).is_activation_checkpointing
    with pytest.raises(KeyError), recomputing(LORA.bare(model), True):
        raise KeyError
    assert not LORA.bare(model).is_activation_checkpointing


@pytest.mark.parametrize("phase", ["estimate", "train"])
def test_a_model_that_cannot_is_refused_by_name(phase: str) -> None:
    model, config = tiny_model("bert"), configured("prune=light_peft")
    getattr(config, phase).gradient_checkpointing = True
    check_model(config, model, describe(model))
    type(model).supports_gradient_checkpointing, before = False, type(model).supports_gradient_checkpointing
    try:
        with pytest.raises(ValueError, match=rf"{phase}\.gradient_checkpointing=true: 'bert' cannot.*micro_batches"):
            check_model(config, model, describe(model))
    finally:
        type(model).supports_gradient_checkpointing = before


def test_prefixes_are_refused() -> None:
    config: Config = configured("peft=prefix_tuning", "prune=none")
    assert not list(peft_kind("prefix_tuning").refusals(config))
    config.train.gradient_checkpointing = config.estimate.gradient_checkpointing = True
    [reason] = peft_kind("prefix_tuning").refusals(config)  # without pruning there is no estimation
    assert reason.startswith("train.gradient_checkpointing=true")
