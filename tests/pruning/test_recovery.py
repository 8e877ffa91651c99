"""What makes up for the cut: exact where it can be, and never worse than nothing on what it has seen."""

from typing import Any

import pytest
import torch
from torch import nn

from light_peft.config import PruneConfig
from light_peft.model import Backbone
from light_peft.peft_modules import peft_kind
from light_peft.pruning.criteria import Subject
from light_peft.pruning.masks import masked
from light_peft.pruning.moments import ConsumerMoments, Moments
from light_peft.pruning.plan import PruneRule, PruningPlan, make_plan
from light_peft.pruning.recovery import Recovery, increments_of, stand_in_CK, touched_paths
from light_peft.pruning.surgery import cut_backbone, plan_cuts
from matrix import random_scores
from model_cases import logits, tiny_batch, tiny_model, with_random_lora

LORA = peft_kind("lora")
BATCH = tiny_batch(rows=40)


def plan_for(model: nn.Module, backbone: Backbone, **shares: float) -> PruningPlan:
    ranks = {path: view.rank for path, view in LORA.views(model).items()}
    return make_plan(random_scores(backbone, ranks), PruneRule(**shares))


def moments_of(model: nn.Module, backbone: Backbone) -> dict[str, Moments]:
    with masked(LORA.bare(model), backbone.sites) as masks:
        subject = Subject(LORA.bare(model), backbone, LORA.views(model), masks, PruneConfig("light_peft"), 0)
        watch = ConsumerMoments(subject, second=True, counts=lambda: True)
        model.train()
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        with watch.watching(model):
            model(**BATCH)
        model.eval()
    return watch.moments


def cut_with(config: PruneConfig, **shares: float) -> tuple[nn.Module, nn.Module, Backbone]:
    """Return the cut model with PEFT, an uncut one like it, and the backbone."""
    model, backbone = with_random_lora(tiny_model("bert"))
    whole, _ = with_random_lora(tiny_model("bert"))
    plan, moments = plan_for(model, backbone, **shares), moments_of(model, backbone)
    views = LORA.views(model)
    increments = increments_of(views, plan, touched_paths(config, backbone, views))
    bare, adapter = LORA.take_off(model)
    cuts = plan_cuts(backbone, plan)
    replaced = Recovery(config, cuts, increments, moments, {}).tensors(bare, backbone)
    adapter = LORA.cut(adapter, bare, plan.ranks, cuts)
    cut_backbone(bare, backbone, plan, cuts, replaced)
    return LORA.put_on(bare, adapter).eval(), whole, backbone


def outputs_of(model: nn.Module, path: str) -> torch.Tensor:
    """Return what the module at `path` puts out for the real tokens of the batch."""
    seen: dict[str, Any] = {}
    with torch.no_grad():
        handle = LORA.bare(model).get_submodule(path).register_forward_hook(lambda m, i, out: seen.update(out=out))
        logits(model, BATCH)
        handle.remove()
    return seen["out"][BATCH["attention_mask"].bool()]


def test_merging_what_cut_peft_has_learned_leaves_the_function_as_it_was() -> None:
    merged, whole, _ = cut_with(PruneConfig("light_peft", merge_cut_peft=True), peft_module=0.5, peft_rank=0.5)
    torch.testing.assert_close(logits(merged, BATCH), logits(whole, BATCH), atol=2e-5, rtol=0)
    plain, whole, _ = cut_with(PruneConfig("light_peft"), peft_module=0.5, peft_rank=0.5)
    assert (logits(plain, BATCH) - logits(whole, BATCH)).abs().max() > 1e-2


def test_the_bias_keeps_the_mean_of_the_first_consumer() -> None:
    config = PruneConfig("light_peft", compensate_bias=True)
    cut, whole, backbone = cut_with(config, attn=0.5, ffn=0.5)
    plain, _, _ = cut_with(PruneConfig("light_peft"), attn=0.5, ffn=0.5)
    path = backbone.sites[0].consumer.path
    wanted = outputs_of(whole, path).mean(dim=0)
    torch.testing.assert_close(outputs_of(cut, path).mean(dim=0), wanted, atol=1e-5, rtol=0)
    assert (outputs_of(plain, path).mean(dim=0) - wanted).abs().max() > 1e-2


@pytest.mark.parametrize("bias", [False, True])
def test_the_refit_comes_nearer_to_the_uncut_outputs(bias: bool) -> None:
    refit, whole, backbone = cut_with(PruneConfig("light_peft", refit=True, compensate_bias=bias), attn=0.5, ffn=0.3)
    plain, _, _ = cut_with(PruneConfig("light_peft"), attn=0.5, ffn=0.3)
    path = backbone.sites[0].consumer.path
    wanted = outputs_of(whole, path)
    error, plain_error = ((outputs_of(model, path) - wanted).square().mean() for model in (refit, plain))
    assert error < 0.8 * plain_error


def test_kept_columns_stand_in_for_cut_ones_that_they_determine() -> None:
    torch.manual_seed(0)
    free = torch.randn(500, 3)
    inputs = torch.cat([free, free @ torch.tensor([[1.0], [-2.0], [0.5]])], dim=1)
    second = inputs.T @ inputs / len(inputs)
    found = stand_in_CK(second, torch.tensor([0, 1, 2]), torch.tensor([3]))
    torch.testing.assert_close(found, torch.tensor([[1.0, -2.0, 0.5]]), atol=0.05, rtol=0)


def test_moments_leave_padding_out() -> None:
    model, backbone = with_random_lora(tiny_model("bert"))
    found = moments_of(model, backbone)
    assert set(found) == {site.consumer.path for site in backbone.sites}
    for moments in found.values():
        assert int(moments.count) == int(BATCH["attention_mask"].sum())
        covariance = moments.second_II(centered=True)
        torch.testing.assert_close(covariance, covariance.T)


def test_a_bias_where_there_was_none() -> None:
    """A consumer without a bias gets one, as in models of the Llama kind."""
    config = PruneConfig("light_peft", compensate_bias=True)
    model, backbone = with_random_lora(tiny_model("bert"))
    for site in backbone.sites:
        LORA.bare(model).get_submodule(site.consumer.path).get_submodule("base_layer").register_parameter("bias", None)
    plan, moments = plan_for(model, backbone, attn=0.5, ffn=0.5), moments_of(model, backbone)
    increments = increments_of(LORA.views(model), plan, touched_paths(config, backbone, LORA.views(model)))
    bare, _ = LORA.take_off(model)
    cuts = plan_cuts(backbone, plan)
    replaced = Recovery(config, cuts, increments, moments, {}).tensors(bare, backbone)
    cut_backbone(bare, backbone, plan, cuts, replaced)
    for site in backbone.sites:
        assert torch.equal(bare.get_parameter(f"{site.consumer.path}.bias"), replaced[f"{site.consumer.path}.bias"])
