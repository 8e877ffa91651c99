"""With how much certainty a few seeds say something: intervals, ratios, and a permutation test. Pure functions.

Everything that compares is paired: two settings are held against each other run by run of the same seed, since such
runs share what the seed decides (data order, initialisation), and their difference varies less than they do.
"""

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

CONFIDENCE = 0.95
EXACT_PAIRS = 14
"""Pairs up to which all sign flips are tried: 2^14 of them."""
DRAWS = 20_000
"""Random sign flips beyond that."""
TIE = 1e-9
"""Share of the largest difference by which two means may differ and still count as equal: they are sums in floats."""


@dataclass(frozen=True)
class Interval:
    """A mean of `count` values with its t-interval of 95 %; without bounds where one value alone is there."""

    count: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """What one setting has over another, paired by seed.

    Attributes:
        pairs: Number of pairs.
        mean: Mean difference; of ratios their geometric mean.
        low: Lower end of its t-interval of 95 %; -inf (of ratios 0) for one pair, which bounds nothing.
        high: Upper end; inf for one pair.
        p_value: Two-sided p of the paired permutation test that neither has anything over the other; None for one pair.
        smallest_p: The smallest p that so many pairs can give, whatever they are.
    """

    pairs: int
    mean: float
    low: float
    high: float
    p_value: float | None
    smallest_p: float


def interval(values: Sequence[float]) -> Interval:
    """Return mean and t-interval (Student, n - 1 degrees of freedom).

    Raises:
        ValueError: If there is no value, or one is not finite.
    """
    _check(values)
    count, mean = len(values), statistics.fmean(values)
    if count == 1:
        return Interval(1, mean, -math.inf, math.inf)
    half = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * statistics.stdev(values) / math.sqrt(count)
    return Interval(count, mean, mean - half, mean + half)


def deviation(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation (n - 1); None of one value."""
    _check(values)
    return statistics.stdev(values) if len(values) > 1 else None


def spread(values: Sequence[float], digits: int) -> str:
    """Return mean ± sample standard deviation; of one value just the value."""
    mean = f"{statistics.fmean(values):,.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):,.{digits}f}" if len(values) > 1 else mean


def compare_pairs(a: Sequence[float], b: Sequence[float], *, ratio: bool = False) -> Comparison:
    """Return what the values `a` have over `b`, pair by pair: a - b, or with `ratio` a / b.

    Of ratios all is done on their logarithms and taken back, so that a / b and b / a say the same.

    Raises:
        ValueError: If there is no pair, the numbers of values differ, one is not finite, or of a ratio not positive.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} values cannot be paired with {len(b)}")
    _check([*a, *b])
    if ratio and min(*a, *b) <= 0:
        raise ValueError(f"a ratio needs positive values, received {min(*a, *b)}")
    differences = [math.log(x) - math.log(y) if ratio else x - y for x, y in zip(a, b, strict=True)]
    found = interval(differences)
    mean, low, high = (math.exp(x) if ratio else x for x in (found.mean, found.low, found.high))
    p_value = permutation_p(differences) if len(a) > 1 else None
    return Comparison(len(a), mean, low, high, p_value, smallest_p(len(a)))


def permutation_p(differences: Sequence[float]) -> float:
    """Return the two-sided p of the paired permutation test on the mean difference.

    If neither setting had anything over the other, each difference could as well have the other sign (Fisher's
    randomisation). p is the share of all sign flips whose mean is at least as far from 0 as the one found, ties
    included; of many pairs that of `DRAWS` random ones, always the same, and the one found.

    Raises:
        ValueError: If there is no difference, or one is not finite.
    """
    _check(differences)
    values = np.asarray(differences, dtype=np.float64)
    if len(values) <= EXACT_PAIRS:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=len(values))))
    else:
        drawn = np.random.default_rng(0).integers(0, 2, size=(DRAWS, len(values)))
        signs = np.concatenate([np.ones((1, len(values))), 2.0 * drawn - 1.0])
    reached = np.abs(signs @ values)
    return float(np.mean(reached >= reached[0] - TIE * np.abs(values).max()))


def smallest_p(pairs: int) -> float:
    """Return the smallest p that the permutation test of so many pairs can give, whatever the differences."""
    return 2.0 / 2**pairs if pairs <= EXACT_PAIRS else 1.0 / (DRAWS + 1)


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean of positive values.

    Raises:
        ValueError: If there is no value, or one is not finite and positive.
    """
    _check(values)
    if min(values) <= 0:
        raise ValueError(f"a geometric mean needs positive values, received {min(values)}")
    return math.exp(statistics.fmean(map(math.log, values)))


def _check(values: Sequence[float]) -> None:
    if not values:
        raise ValueError("statistics of no values")
    if odd := [value for value in values if not math.isfinite(value)]:
        raise ValueError(f"statistics need finite values, received {odd[0]}")
