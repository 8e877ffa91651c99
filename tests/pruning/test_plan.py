"""The decision: exact counts, nested as the share grows, deterministic on ties, never an empty layer."""

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from light_peft.pruning.plan import PruneRule, PruningPlan, check_feasible, keep_all, make_plan
from light_peft.pruning.scores import Scores

HEADS, NEURONS, RANKS = 12, 40, 8


def scores_of(seed: int, *, layers: int = 3, modules: int = 8, levels: int = 0) -> Scores:
    """Return random scores; `levels` > 0 draws them from so few values that ties abound."""
    generator = torch.Generator().manual_seed(seed)

    def draw(count: int) -> torch.Tensor:
        if levels:
            return torch.randint(0, levels, (count,), generator=generator).float()
        return torch.rand(count, generator=generator)

    names = [f"module.{index}" for index in range(modules)]
    return Scores(
        attn=tuple(draw(HEADS) for _ in range(layers)),
        ffn=tuple(draw(NEURONS) for _ in range(layers)),
        modules={name: float(draw(1)) for name in names},
        ranks={name: draw(RANKS) for name in names},
    )


def cut_count(share: float, total: int) -> int:
    return math.floor(share * total + 0.5)


shares = st.floats(0, 0.9)
seeds = st.integers(0, 1000)


@given(seeds, shares, shares, st.sampled_from([0, 3]))
def test_counts_are_exactly_what_the_shares_say(seed: int, attn: float, ffn: float, levels: int) -> None:
    plan = make_plan(scores_of(seed, levels=levels), PruneRule(attn=attn, ffn=ffn))
    assert [len(kept) for kept in plan.heads] == [HEADS - cut_count(attn, HEADS)] * 3
    assert sum(map(len, plan.neurons)) == 3 * NEURONS - cut_count(ffn, 3 * NEURONS)
    assert all(plan.neurons)


@given(seeds, shares, shares)
def test_kept_sets_are_nested_as_the_share_grows(seed: int, one: float, other: float) -> None:
    low, high = sorted((one, other))
    scores = scores_of(seed, levels=4)
    for scope in ("layer", "global"):
        wide = make_plan(scores, PruneRule(attn=low, ffn=low, peft_rank=low, attn_scope=scope, ffn_scope=scope))
        slim = make_plan(scores, PruneRule(attn=high, ffn=high, peft_rank=high, attn_scope=scope, ffn_scope=scope))
        for more, fewer in zip(wide.heads + wide.neurons, slim.heads + slim.neurons, strict=True):
            assert set(fewer) <= set(more)
        assert all(set(kept) <= set(wide.ranks[name]) for name, kept in slim.ranks.items())


@given(seeds, shares)
def test_the_best_stay(seed: int, share: float) -> None:
    scores = scores_of(seed)
    plan = make_plan(scores, PruneRule(attn=share))
    for layer, kept in enumerate(plan.heads):
        gone = set(range(HEADS)) - set(kept)
        assert not gone or scores.attn[layer][list(kept)].min() >= scores.attn[layer][list(gone)].max()


@given(seeds, shares, st.sampled_from([4, 8]))
def test_rounded_widths_are_multiples_at_the_nearest_total(seed: int, share: float, block: int) -> None:
    plan = make_plan(scores_of(seed), PruneRule(ffn=share, round_to=block))
    widths = [len(kept) for kept in plan.neurons]
    target = 3 * NEURONS - cut_count(share, 3 * NEURONS)
    assert all(width % block == 0 and width > 0 for width in widths)
    assert abs(sum(widths) - target) <= block / 2 or sum(widths) == 3 * block


@given(seeds, shares, shares)
def test_modules_and_ranks(seed: int, modules: float, ranks: float) -> None:
    plan = make_plan(scores_of(seed, modules=10), PruneRule(peft_module=modules, peft_rank=ranks))
    staying = 10 - cut_count(modules, 10)
    assert sum(map(len, plan.ranks.values())) == staying * RANKS - cut_count(ranks, staying * RANKS)
    by_module = make_plan(
        scores_of(seed, modules=10), PruneRule(peft_module=modules, peft_rank=ranks, rank_scope="module")
    )
    assert {len(kept) for kept in by_module.ranks.values()} == {RANKS - cut_count(ranks, RANKS)}
    assert len(by_module.ranks) == staying


def test_ties_fall_to_the_later_layer_and_the_higher_index() -> None:
    equal = Scores((torch.ones(4),) * 2, (torch.ones(4),) * 2)
    plan = make_plan(equal, PruneRule(attn=0.5, ffn=0.25))
    assert plan.heads == ((0, 1), (0, 1))
    assert plan.neurons == ((0, 1, 2, 3), (0, 1))


def test_an_unimportant_layer_keeps_one_group_and_the_others_pay() -> None:
    scores = Scores((torch.ones(4),) * 2, (torch.arange(1.0, 9.0), torch.zeros(8)))
    plan = make_plan(scores, PruneRule(ffn=0.5))
    assert plan.neurons == ((1, 2, 3, 4, 5, 6, 7), (0,))
    empty = make_plan(scores, PruneRule(ffn=0.5, allow_empty=True))
    assert empty.neurons == (tuple(range(8)), ())


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (PruneRule(attn=0.99), r"prune\.attn=0\.99 leaves 0 of 12 groups.*at most 0\.9167"),
        (PruneRule(ffn=0.99), r"prune\.ffn=0\.99 leaves 1 of 120 groups for 3 layer"),
        (PruneRule(peft_module=0.95), r"prune\.peft_module=0\.95 would remove every PEFT module"),
        (PruneRule(peft_module=0.8, peft_rank=0.97), r"prune\.peft_rank=0\.97 would cut every rank"),
    ],
)
def test_a_share_that_leaves_nothing_is_refused_before_anything_is_measured(rule: PruneRule, message: str) -> None:
    everything = keep_all([HEADS] * 3, [NEURONS] * 3, {f"module.{index}": RANKS for index in range(8)})
    with pytest.raises(ValueError, match=message):
        check_feasible(rule, everything)
    with pytest.raises(ValueError, match=message):
        make_plan(scores_of(0), rule)


def test_a_quantile_that_empties_a_layer_is_refused() -> None:
    equal = Scores((torch.ones(4), torch.tensor([1.0, 2.0, 3.0, 4.0])), (torch.arange(4.0),) * 2)
    with pytest.raises(ValueError, match=r"prune\.attn=0\.5 would leave layers \[0\] empty"):
        make_plan(equal, PruneRule(attn=0.5, threshold="quantile"))


def test_the_quantile_is_strict_and_computed_in_fp64() -> None:
    values = torch.tensor([0.1, 0.2, 0.3, 0.4])
    plan = make_plan(Scores((values,), (values,)), PruneRule(attn=1 / 3, ffn=0.0, threshold="quantile"))
    # linear interpolation: position 1 exactly, so the threshold is the second value and does not stay
    assert plan.heads == ((2, 3),)
    assert plan.neurons == ((0, 1, 2, 3),)


def test_a_plan_is_json_and_back() -> None:
    plan = make_plan(scores_of(3), PruneRule(1 / 3, 0.4, 0.5, 0.5))
    assert PruningPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_a_plan_refuses_nonsense() -> None:
    with pytest.raises(AssertionError, match="ascending"):
        PruningPlan(((1, 0),), ((0,),), {}, (2,), (1,))
    with pytest.raises(AssertionError, match="outside"):
        PruningPlan(((0, 2),), ((0,),), {}, (2,), (1,))


@pytest.mark.parametrize(("share", "num_cut"), [(0.0, 0), (0.2, 1), (0.4, 2), (0.6, 4), (1 / 3, 2)])
def test_whole_layers_go_by_their_influence(share: float, num_cut: int) -> None:
    influence = (0.5, 0.1, 0.9, 0.2, 0.8, 0.7)
    vectors = [(torch.full((HEADS,), value), torch.full((NEURONS,), value)) for value in influence]
    scores = Scores(attn=tuple(a for a, _ in vectors), ffn=tuple(f for _, f in vectors))
    plan = make_plan(scores, PruneRule(criterion="layer", attn=share, ffn=share))
    gone = sorted(range(6), key=lambda layer: influence[layer])[:num_cut]
    assert [layer for layer in range(6) if not plan.heads[layer]] == sorted(gone)
    assert [layer for layer in range(6) if not plan.neurons[layer]] == sorted(gone)
    assert all(len(kept) in (0, HEADS) for kept in plan.heads)


def test_not_every_layer_can_go() -> None:
    scores = Scores(attn=(torch.ones(HEADS),) * 3, ffn=(torch.ones(NEURONS),) * 3)
    with pytest.raises(ValueError, match=r"prune\.attn=0\.9 leaves 0 of 3"):
        make_plan(scores, PruneRule(criterion="layer", attn=0.9, ffn=0.9))
