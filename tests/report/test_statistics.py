"""Intervals, ratios and the permutation test, against scipy and by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from light_peft.report.statistics import (
    EXACT_PAIRS,
    compare_pairs,
    deviation,
    geometric_mean,
    interval,
    permutation_p,
    smallest_p,
    spread,
)

RANDOM = np.random.default_rng(7)
SAMPLES = [(RANDOM.normal(0.5, 1.0, n).tolist(), RANDOM.normal(0.0, 1.0, n).tolist()) for n in (2, 3, 5, 9)]


@pytest.mark.parametrize(("a", "b"), SAMPLES)
def test_intervals_are_those_of_scipy(a: list[float], b: list[float]) -> None:
    expected = stats.ttest_1samp(a, 0.0).confidence_interval(0.95)
    found = interval(a)
    assert (found.mean, found.low, found.high) == pytest.approx((np.mean(a), expected.low, expected.high))
    paired = stats.ttest_rel(a, b).confidence_interval(0.95)
    compared = compare_pairs(a, b)
    assert (compared.low, compared.high) == pytest.approx((paired.low, paired.high))
    assert compared.mean == pytest.approx(np.mean(a) - np.mean(b))


@pytest.mark.parametrize(("a", "b"), SAMPLES)
def test_the_permutation_test_is_that_of_scipy(a: list[float], b: list[float]) -> None:
    def mean_difference(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return np.mean(x - y, axis=axis)

    expected = stats.permutation_test((a, b), mean_difference, permutation_type="samples", n_resamples=np.inf)
    assert compare_pairs(a, b).p_value == pytest.approx(expected.pvalue)


@pytest.mark.parametrize(
    ("differences", "p_value"),
    [
        ([1.0, 2.0, 3.0], 2 / 8),  # of the 8 sums only 6 and -6 are as far from 0
        ([3.0, 3.0, -1.0], 4 / 8),  # 5; +-7 and +-5 of +-7, +-5 and four +-1
        ([1.0, 1.0, -1.0], 1.0),  # 1; no sum of three odd numbers is nearer to 0
        ([0.0, 0.0, 0.0], 1.0),
        ([0.0, 0.0, 2.0], 1.0),  # ties: every sum is 2 or -2
        ([0.1, 0.2, -0.3], 1.0),  # 0 but for rounding
        ([5.0], 1.0),
    ],
)
def test_the_permutation_test_by_hand(differences: list[float], p_value: float) -> None:
    assert permutation_p(differences) == p_value


@pytest.mark.parametrize("pairs", [2, 3, 6, EXACT_PAIRS, EXACT_PAIRS + 1, 30])
def test_the_smallest_p_is_reached_when_all_differences_agree(pairs: int) -> None:
    differences = [1.0 + 0.1 * number for number in range(pairs)]
    found = permutation_p(differences)
    assert found == permutation_p(differences), "the same each time"
    assert smallest_p(pairs) <= found <= max(smallest_p(pairs), 3e-4)
    if pairs <= EXACT_PAIRS:
        assert found == smallest_p(pairs) == 2 / 2**pairs


def test_many_pairs_are_tested_by_random_flips() -> None:
    differences = [1.0] * 15 + [-1.0] * 5  # a sign test then, whose p is that of the binomial distribution
    assert permutation_p(differences) == pytest.approx(stats.binomtest(15, 20).pvalue, abs=0.006)


def test_the_order_of_pairs_and_of_settings_does_not_matter() -> None:
    a, b = [0.61, 0.58, 0.66, 0.7], [0.6, 0.6, 0.6, 0.65]
    forth, back = compare_pairs(a, b), compare_pairs(b[::-1], a[::-1])
    assert (forth.mean, forth.low, forth.high) == pytest.approx((-back.mean, -back.high, -back.low))
    assert forth.p_value == back.p_value


def test_ratios_are_geometric() -> None:
    found = compare_pairs([2.0, 8.0], [1.0, 2.0], ratio=True)
    assert found.mean == pytest.approx(math.sqrt(8.0))
    inverse = compare_pairs([1.0, 2.0], [2.0, 8.0], ratio=True)
    assert (inverse.mean, inverse.low, inverse.high) == pytest.approx((1 / found.mean, 1 / found.high, 1 / found.low))
    assert geometric_mean([2.0, 4.0, 1.0]) == pytest.approx(2.0)


def test_equal_values_have_an_interval_without_width() -> None:
    assert (interval([0.5, 0.5, 0.5]).low, interval([0.5, 0.5, 0.5]).high) == (0.5, 0.5)
    same = compare_pairs([2.0, 3.0], [1.0, 2.0])
    assert (same.mean, same.low, same.high, same.p_value) == (1.0, 1.0, 1.0, 0.5)


def test_one_pair_bounds_nothing() -> None:
    found = compare_pairs([0.7], [0.5])
    assert found.mean == pytest.approx(0.2)
    assert (found.pairs, found.low, found.high, found.p_value, found.smallest_p) == (1, -math.inf, math.inf, None, 1.0)
    ratio = compare_pairs([3.0], [2.0], ratio=True)
    assert (ratio.mean, ratio.low, ratio.high) == pytest.approx((1.5, 0.0, math.inf))
    assert deviation([0.7]) is None
    assert deviation([1.0, 3.0]) == pytest.approx(math.sqrt(2))


def test_a_spread_is_a_mean_and_a_sample_deviation() -> None:
    assert spread([1.25], 1) == "1.2"
    assert spread([80.0, 82.0], 1) == "81.0 ± 1.4"
    assert spread([1000.0, 3000.0], 0) == "2,000 ± 1,414"


@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_values_that_are_not_finite_are_refused(odd: float) -> None:
    for call in (interval, deviation, permutation_p, geometric_mean):
        with pytest.raises(ValueError, match="finite"):
            call([1.0, odd])
    with pytest.raises(ValueError, match="finite"):
        compare_pairs([1.0, 2.0], [odd, 1.0])


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        interval([])
    with pytest.raises(ValueError, match="2 values cannot be paired with 1"):
        compare_pairs([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="positive values, received -1"):
        compare_pairs([1.0, 2.0], [-1.0, 1.0], ratio=True)
    with pytest.raises(ValueError, match="positive values, received 0"):
        geometric_mean([0.0, 1.0])
