"""Costs, the budget, the front and the best."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from search_cases import record_of

from light_peft.search.goal import Goal, best_of, front_of

# Few different values, so that ties come up.
POINTS = st.dictionaries(st.integers(0, 20), st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12)


def beats(a: tuple[float, float], b: tuple[float, float]) -> bool:
    """Whether `a` is no worse in score and cost, and better in one of them."""
    return a[0] >= b[0] and a[1] <= b[1] and a != b


@given(POINTS)
def test_the_front_is_what_nothing_beats(points: dict[int, tuple[float, float]]) -> None:
    unbeaten = {point for point in points.values() if not any(beats(other, point) for other in points.values())}
    front = front_of(points)
    assert {points[key] for key in front} == unbeaten
    assert len(front) == len(unbeaten)  # of equal ones a single one, the first
    assert all(key == min(k for k in points if points[k] == points[key]) for key in front)
    assert [points[key][1] for key in front] == sorted(points[key][1] for key in front)


@given(POINTS)
def test_the_best_is_on_the_front(points: dict[int, tuple[float, float]]) -> None:
    best = best_of(points)
    assert (best is None) == (not points)
    if best is not None:
        assert points[best][0] == max(score for score, _ in points.values())
        assert best == front_of(points)[-1]


def test_costs_are_shares_of_plain_peft_of_the_same_seed() -> None:
    plain = [record_of(0.9, 1.0, seconds=100.0), record_of(0.9, 1.0, seconds=200.0)]
    own = [record_of(0.8, 0.6, seconds=50.0), record_of(0.8, 0.7, seconds=50.0)]
    goal = Goal("seconds", "memory", 0.66)
    costs = goal.costs(own, plain)
    assert costs == {"seconds": pytest.approx((0.5 + 0.25) / 2), "memory": pytest.approx(0.65)}
    assert goal.excess(costs) == pytest.approx(-0.01)
    assert Goal("step").costs(own, plain) == {"step": pytest.approx(0.375)}
    assert Goal("step").excess({"step": 3.0}) == 0.0


def test_blocks_need_no_plain_peft() -> None:
    goal = Goal("blocks", "blocks", 0.6)
    assert not goal.needs_plain
    assert goal.costs([record_of(0.8, 0.6)], []) == {"blocks": pytest.approx(0.6)}
    assert Goal("blocks", "seconds", 0.5).needs_plain
