"""Any two settings beside each other: every difference worked out beforehand, for a small script to show."""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from light_peft.report.html.beside import SCORE, Family
from light_peft.report.results import Comparison, Setting, compare_all

MOST_NAMES = 40
"""Settings among which two can be chosen: their pairs are as many as the square of it, halved."""


def payload_of(families: Sequence[Family], tasks: Sequence[str]) -> dict[str, Any]:
    """Return the comparisons of all pairs of settings as plain values; nothing where there are not two.

    `pairs` holds for "a,b", places in `names` with a before b, a list for each task that both have and one named
    "all": [mean of a - b, low, high, p, pairs], without bounds and p (null) where one pair alone is there.
    """
    chosen = [family for family in families if any(setting.records for setting in family.settings)][:MOST_NAMES]
    pairs = {}
    for (a, left), (b, right) in combinations(enumerate(chosen), 2):
        matched = [(one, other) for one in left.settings for other in right.settings if one.task == other.task]
        if found := _compared(matched):
            pairs[f"{a},{b}"] = found
    if not pairs:
        return {}
    first = next((i for i, family in enumerate(chosen) if family.pairs), 0)
    against = [
        i
        for i, family in enumerate(chosen)
        if any(b is not None and b.name == family.name for b in chosen[first].baselines)
    ]
    looks = [[family.look.css, family.look.number] for family in chosen]
    start = [first, against[0] if against else int(first == 0)]
    return {
        "names": [family.name for family in chosen],
        "looks": looks,
        "tasks": list(tasks),
        "pairs": pairs,
        "start": start,
    }


def _compared(matched: Sequence[tuple[Setting, Setting]]) -> dict[str, list[float | None]]:
    found = {one.task: _plain(compare_all([(one, other)], SCORE)) for one, other in matched}
    known = {task: values for task, values in found.items() if values is not None}
    every = _plain(compare_all(matched, SCORE))
    return {**known, "all": every} if every is not None and len(known) > 1 else known


def _plain(found: Comparison | None) -> list[float | None] | None:
    if found is None:
        return None
    bounds = [round(x, 3) if math.isfinite(x) else None for x in (found.mean, found.low, found.high)]
    return [*bounds, found.p_value, found.pairs]
