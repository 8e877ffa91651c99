"""The search for shares: known optima, all pairs by brute force, refusals."""

import random
from dataclasses import replace

import pytest
import torch

from light_peft.config import TargetConfig
from light_peft.pruning.budget import CostModel, Target, find_shares
from light_peft.pruning.plan import PruneRule, PruningPlan, make_plan
from light_peft.pruning.scores import Scores

IN_LAYERS = PruneRule(ffn_scope="layer")


def one_layer(heads: list[float], neurons: list[float]) -> Scores:
    return Scores((torch.tensor(heads),), (torch.tensor(neurons),))


def drawn(seed: int) -> tuple[Scores, PruneRule, CostModel]:
    """Return random scores of up to three layers, a random rule, and prices that differ from layer to layer."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    layers, heads, neurons = rng.randint(1, 3), rng.randint(2, 4), rng.randint(4, 9)
    levels = rng.choice([2, 1000])

    def vector(count: int) -> torch.Tensor:
        return torch.randint(-1, levels, (count,), generator=generator).float()

    scores = Scores(
        tuple(vector(heads) for _ in range(layers)),
        tuple(vector(neurons) for _ in range(layers)),
    )
    scopes = {f"{kind}_scope": rng.choice(["layer", "global"]) for kind in ("attn", "ffn")}
    rule = PruneRule(round_to=rng.choice([1, 1, 2]), allow_empty=rng.random() < 0.3, **scopes)
    prices = {kind: tuple(float(rng.randint(1, 9)) for _ in range(layers)) for kind in ("attn", "ffn")}
    total = heads * sum(prices["attn"]) + neurons * sum(prices["ffn"])
    return scores, rule, CostModel(before=total + 10, whole=total + 5, **prices)


def cost_of(plan: PruningPlan, costs: CostModel) -> float:
    """Return the cost of what stays, by adding up what stays."""
    full = sum(p * n for p, n in zip(costs.attn + costs.ffn, plan.num_heads + plan.num_neurons, strict=True))
    kept = zip(costs.attn + costs.ffn, plan.heads + plan.neurons, strict=True)
    return costs.whole - full + sum(price * len(groups) for price, groups in kept)


def loss_of(plan: PruningPlan, scores: Scores) -> float:
    """Return the lost share of the importance, heads and neurons added."""
    loss = 0.0
    for values, kept in ((scores.attn, plan.heads), (scores.ffn, plan.neurons)):
        positive = [[max(0.0, float(value)) for value in vector] for vector in values]
        total = sum(map(sum, positive))
        left = sum(vector[index] for vector, groups in zip(positive, kept, strict=True) for index in groups)
        loss += (total - left) / total if total else 0.0
    return loss


def all_plans(scores: Scores, rule: PruneRule) -> list[tuple[float, PruningPlan]]:
    """Return every share of heads with every share of neurons that the rule allows, with the share of heads."""
    plans = []
    sizes = [sum(map(len, values)) for values in (scores.attn, scores.ffn)]
    grids = [
        len(values[0]) if scope == "layer" else size
        for values, scope, size in zip((scores.attn, scores.ffn), (rule.attn_scope, rule.ffn_scope), sizes, strict=True)
    ]
    for heads in range(grids[0]):
        for neurons in range(grids[1]):
            asked = replace(rule, attn=heads / grids[0], ffn=neurons / grids[1])
            try:
                plans.append((asked.attn, make_plan(scores, asked)))
            except ValueError:
                continue
    return plans


@pytest.mark.parametrize("seed", range(24))
def test_no_pair_of_shares_that_reaches_the_target_loses_less(seed: int) -> None:
    scores, rule, costs = drawn(seed)
    plans = all_plans(scores, rule)
    for target in (Target("blocks", 0.5), Target("speedup", 1.3), Target("memory", 0.85)):
        reaching = [pair for pair in plans if cost_of(pair[1], costs) <= target.limit(costs.before)]
        if not reaching:
            with pytest.raises(ValueError, match=rf"^prune\.target\.{target.name}={target.asked:g}: \d"):
                find_shares(target, costs, scores, rule)
            continue
        found = find_shares(target, costs, scores, rule)
        plan = make_plan(scores, replace(rule, attn=found.attn, ffn=found.ffn))
        assert found.of(rule) == replace(rule, attn=found.attn, ffn=found.ffn)
        assert cost_of(plan, costs) <= target.limit(costs.before)
        assert found.predicted == pytest.approx(target.ratio(costs.before, cost_of(plan, costs)))
        least = min(loss_of(each, scores) for _, each in reaching)
        assert loss_of(plan, scores) == pytest.approx(least, abs=1e-9)
        equal = [share for share, each in reaching if loss_of(each, scores) <= least + 1e-9]
        assert found.attn == min(equal), "fewer heads"


def test_what_is_worth_least_for_its_price_goes() -> None:
    scores = one_layer([1.0, 1.0, 1.0, 97.0], [25.0] * 4)
    costs = CostModel(before=80.0, whole=80.0, attn=(10.0,), ffn=(10.0,))
    found = find_shares(Target("blocks", 50 / 80), costs, scores, IN_LAYERS)
    assert (found.attn, found.ffn) == (0.75, 0.0), "three heads with 3 % of the importance, not a neuron with 25 %"
    dear = replace(costs, ffn=(30.0,), before=160.0, whole=160.0)
    found = find_shares(
        Target("blocks", 130 / 160), dear, one_layer([9.0, 9.0, 9.0, 9.0], [1.0, 9.0, 9.0, 9.0]), IN_LAYERS
    )
    assert (found.attn, found.ffn) == (0.0, 0.25), "one dear neuron, not three heads"


def test_of_equal_losses_fewer_heads_are_cut() -> None:
    scores = one_layer([1.0] * 4, [1.0] * 4)
    costs = CostModel(before=80.0, whole=80.0, attn=(10.0,), ffn=(10.0,))
    found = find_shares(Target("blocks", 0.75), costs, scores, IN_LAYERS)
    assert (found.attn, found.ffn, found.predicted) == (0.0, 0.5, 0.75)


def test_what_pulls_down_counts_as_nothing() -> None:
    scores = one_layer([1.0, 1.0], [-5.0, -5.0, 1.0, 1.0])
    costs = CostModel(before=60.0, whole=60.0, attn=(10.0,), ffn=(10.0,))
    assert find_shares(Target("blocks", 40 / 60), costs, scores, IN_LAYERS).ffn == 0.5
    nothing = one_layer([0.0, 0.0], [0.0] * 4)
    assert find_shares(Target("blocks", 40 / 60), costs, nothing, IN_LAYERS).ffn == 0.5


def test_a_target_that_fewer_modules_reach_cuts_nothing() -> None:
    scores = one_layer([1.0, 1.0], [1.0, 1.0])
    costs = CostModel(before=90.0, whole=60.0, attn=(10.0,), ffn=(10.0,))
    found = find_shares(Target("speedup", 1.5), costs, scores, IN_LAYERS)
    assert (found.attn, found.ffn, found.predicted) == (0.0, 0.0, 1.5)


def test_whole_layers_are_counted() -> None:
    values = [1.0, 5.0, 2.0, 4.0]
    scores = Scores(tuple(torch.full((2,), v) for v in values), tuple(torch.full((3,), v) for v in values))
    costs = CostModel(before=100.0, whole=100.0, attn=(5.0,) * 4, ffn=(5.0,) * 4)
    rule = PruneRule(criterion="layer")
    found = find_shares(Target("blocks", 0.6), costs, scores, rule)
    assert (found.attn, found.ffn, found.predicted) == (0.5, 0.5, 0.5), "25 of 100 for each layer"
    assert [bool(kept) for kept in make_plan(scores, found.of(rule)).heads] == [False, True, False, True]
    with pytest.raises(ValueError, match=r"0\.25 is the best .* attn 0\.75 and ffn 0\.75 cut"):
        find_shares(Target("blocks", 0.2), costs, scores, rule)


def test_what_cannot_be_reached_says_what_can() -> None:
    scores = one_layer([1.0] * 4, [1.0] * 10)
    costs = CostModel(before=140.0, whole=140.0, attn=(10.0,), ffn=(10.0,))
    with pytest.raises(
        ValueError, match=r"^prune\.target\.speedup=8: 7 is the best .* attn 0\.75 and ffn 0\.9 cut; ask"
    ):
        find_shares(Target("speedup", 8.0), costs, scores, IN_LAYERS)
    assert find_shares(Target("speedup", 7.0), costs, scores, IN_LAYERS).predicted == 7.0


def test_a_quantile_goes_as_far_as_it_leaves_something() -> None:
    scores = one_layer([1.0, 2.0, 2.0, 2.0], [1.0, 1.0, 1.0, 2.0])
    costs = CostModel(before=80.0, whole=80.0, attn=(10.0,), ffn=(10.0,))
    rule = replace(IN_LAYERS, threshold="quantile")
    found = find_shares(Target("blocks", 0.5), costs, scores, rule)
    kept = make_plan(scores, found.of(rule))
    assert [len(kept.heads[0]), len(kept.neurons[0])] == [3, 1]
    with pytest.raises(ValueError, match=r"0\.5 is the best"):
        find_shares(Target("blocks", 0.4), costs, scores, rule)


def test_the_target_that_is_set_is_taken() -> None:
    assert Target.of(TargetConfig()) is None
    assert Target.of(TargetConfig(memory=0.6)) == Target("memory", 0.6)
    speedup = Target("speedup", 2.0)
    assert (speedup.limit(10.0), speedup.ratio(10.0, 4.0)) == (5.0, 2.5)
    memory = Target("memory", 0.6)
    assert (memory.limit(10.0), memory.ratio(10.0, 4.0)) == (6.0, 0.4)
