"""What a model costs: counted prices are exact, measured ones predict the cut model, and nothing is left behind."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from light_peft import door
from light_peft.artifacts import RunRecord
from light_peft.data.batches import Batch
from light_peft.meter import Meter
from light_peft.model import Backbone, count_block_parameters, describe
from light_peft.peft_modules import peft_kind
from light_peft.pruning import probe
from light_peft.pruning.budget import Target, find_shares
from light_peft.pruning.decision import Budget, plan_of
from light_peft.pruning.plan import PruneRule, PruningPlan, keep_all
from light_peft.pruning.probe import Probe, counted_costs, group_parameters, least_seconds, light_copy
from light_peft.pruning.surgery import cut_backbone, plan_cuts
from light_peft.tasks.formulation import model_loss
from matrix import attach_random, configured, random_scores
from model_cases import TINY, batch_of, tiny_model, with_random_lora

LORA = peft_kind("lora")
THREE = ("bert", "gpt2", "llama")
RULE = PruneRule(peft_module=0.5, peft_rank=0.5)


@pytest.fixture(scope="module")
def accelerator() -> Accelerator:
    return Accelerator(cpu=True, mixed_precision="no")


def cut_model(model: nn.Module, backbone: Backbone, plan: PruningPlan) -> nn.Module:
    bare, adapter = LORA.take_off(model)
    cuts = plan_cuts(backbone, plan)
    adapter = LORA.cut(adapter, bare, plan.ranks, cuts)
    cut_backbone(bare, backbone, plan, cuts)
    return LORA.put_on(bare, adapter)


def ranks_of(model: nn.Module) -> dict[str, int]:
    return {path: view.rank for path, view in LORA.views(model).items()}


def everything(backbone: Backbone, ranks: dict[str, int]) -> PruningPlan:
    heads, neurons = ([site.count for site in backbone.sites_of(kind)] for kind in ("attn", "ffn"))
    return keep_all(heads, neurons, ranks)


@pytest.mark.parametrize("family", sorted(TINY))
def test_the_blocks_are_counted_to_the_parameter(family: str) -> None:
    model = tiny_model(family)
    backbone = describe(model)
    scores, before = random_scores(backbone, {}), count_block_parameters(backbone, model)
    costs = counted_costs(model, backbone, before)
    shares = find_shares(Target("blocks", 0.7), costs, scores, PruneRule())
    plan = plan_of(scores, shares.of(PruneRule()), backbone)
    cut_backbone(model, backbone, plan, plan_cuts(backbone, plan))
    after = count_block_parameters(backbone, model)
    assert shares.predicted == after / before, "what is predicted is what is left"
    assert after <= 0.7 * before < after + max(costs.ffn), "and not one neuron more is cut"


def test_what_the_blocks_have_reached_is_counted_once(accelerator: Accelerator) -> None:
    model, backbone = with_random_lora(tiny_model("bert"))
    before = count_block_parameters(backbone, tiny_model("bert"))
    record = RunRecord(parameters={"blocks_before": before, "blocks_after": before // 2})
    measure = Probe(LORA, backbone, accelerator, long_batch(), model_loss)
    budget = Budget(Target("blocks", 0.6), measure, accelerator, record, Meter(torch.device("cpu")))
    rule = budget.rule(random_scores(backbone, ranks_of(model)), RULE, model, LORA.bare(model), backbone)
    assert (rule.attn, rule.ffn) == (record.budget["attn"], record.budget["ffn"])
    assert rule.peft_module == RULE.peft_module
    assert record.budget["predicted"] <= 0.6
    budget.note_reached(model)
    assert record.budget["reached"] == (before // 2) / before
    record.parameters["blocks_after"] = before
    budget.note_reached(model)
    assert record.budget["reached"] < 0.6, "a run that goes on has reached it already"


@pytest.mark.parametrize("family", THREE)
def test_a_measured_price_predicts_what_the_cut_model_takes(family: str, accelerator: Accelerator) -> None:
    model, backbone = with_random_lora(tiny_model(family), dropout=0.1)
    scores, measure = (
        random_scores(backbone, ranks_of(model)),
        Probe(LORA, backbone, accelerator, long_batch(), model_loss),
    )
    costs = measure.costs("memory", model, plan_of(scores, RULE, backbone))
    assert costs.before == measure.cost("memory", model) > costs.whole
    shares = find_shares(Target("memory", 0.6), costs, scores, RULE)
    assert shares.predicted <= 0.6
    cut = cut_model(model, backbone, plan_of(scores, shares.of(RULE), backbone))
    assert measure.cost("memory", cut) / costs.before == pytest.approx(shares.predicted, rel=0.05)


def long_batch() -> Batch:
    """Return a batch whose activations outweigh the weights."""
    ids = torch.randint(1, 50, (16, 32), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.zeros(16, dtype=torch.long)}


def test_below_what_trains_only_the_weights_are_saved(accelerator: Accelerator) -> None:
    model, backbone = with_random_lora(tiny_model("bert"))
    ranks = {path: 4 for path in ranks_of(model) if backbone.layer_of(path) == 2}
    measure = Probe(LORA, backbone, accelerator, long_batch(), model_loss)
    costs = measure.costs("memory", model, everything(backbone, ranks))
    bare = LORA.bare(model)
    for kind, prices in (("attn", costs.attn), ("ffn", costs.ffn)):
        site = backbone.sites_of(kind)[0]
        of_lora = 4 * sum(port.size for port in site.ports)  # rows of B and columns of A, on each port rank 4
        assert prices[0] == prices[1] == 4 * (group_parameters(bare, site) + of_lora), "in bytes of fp32"
        assert prices[2] > prices[1]


@pytest.mark.parametrize(
    ("family", "column"),
    [
        *(("bert", column) for column in ("adalora", "bitfit", "bottleneck", "full", "prefix_tuning")),
        *(("llama", column) for column in ("ia3", "miss", "prompt_tuning")),
    ],
)
def test_every_kind_can_be_measured(family: str, column: str, accelerator: Accelerator) -> None:
    door.register()
    config, model = configured(f"peft={column}"), tiny_model(family)
    attached, backbone = attach_random(config, model)
    kind = peft_kind(column)
    ranks = {path: view.rank for path, view in kind.views(attached).items()}
    measure = Probe(kind, backbone, accelerator, batch_of(family), model_loss)
    costs = measure.costs("memory", attached, everything(backbone, ranks))
    assert costs.whole == pytest.approx(costs.before, rel=0.01), "nothing is cut yet"
    assert min(costs.attn + costs.ffn) > 0


def test_measuring_leaves_no_trace(accelerator: Accelerator) -> None:
    model, backbone = with_random_lora(tiny_model("llama"), dropout=0.1)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    measure = Probe(LORA, backbone, accelerator, batch_of("llama"), model_loss)
    measure.costs("memory", model, plan_of(random_scores(backbone, ranks_of(model)), RULE, backbone))
    measure.cost("memory", model)
    assert torch.equal(torch.get_rng_state(), state)
    assert trained == [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_light_copy_shares_what_is_frozen_and_nothing_else() -> None:
    model, _ = with_random_lora(tiny_model("bert"))
    copied = light_copy(model)
    assert copied.training
    pairs = list(zip(model.parameters(), copied.parameters(), strict=True))
    assert {one is other for one, other in pairs if not one.requires_grad} == {True}
    assert {one is other for one, other in pairs if one.requires_grad} == {False}
    assert all(torch.equal(one, other) for one, other in pairs)


def test_steps_take_turns_and_the_fastest_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    seconds: dict[str, Iterator[float]] = {"a": iter([5.0, 1.0, 3.0]), "b": iter([2.0, 9.0, 4.0])}

    def timed(step: Any, _: torch.device) -> float:
        step()
        return next(seconds[order[-1]])

    monkeypatch.setattr(probe, "seconds_of", timed)
    monkeypatch.setattr(probe, "SECONDS", 0.0)
    steps = [lambda name=name: order.append(name) for name in ("a", "b")]
    assert least_seconds(steps, torch.device("cpu")) == [1.0, 2.0]
    assert order == ["a", "b"] * 4, "one round warms up"


def test_seconds_are_those_of_the_step(accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "SECONDS", 0.0)
    model, backbone = with_random_lora(tiny_model("bert"))
    measure = Probe(LORA, backbone, accelerator, long_batch(), model_loss)
    costs = measure.costs("speedup", model, everything(backbone, ranks_of(model)))
    assert 0 < costs.before < 60
    assert 0 < costs.whole < 60
    assert min(costs.attn + costs.ffn) >= 0
