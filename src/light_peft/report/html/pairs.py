"""Any two settings beside each other: every difference worked out beforehand, for a small script to show."""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from light_peft.report.html.beside import SCORE, Family
from light_peft.report.overview import Overview
from light_peft.report.results import Comparison, Setting, compare_all

EVERY = ""
"""Stands for all tasks together where a task's name may stand."""
MOST_NAMES = 40
"""Settings among which two can be chosen: their pairs are as many as the square of it, halved."""


def payload_of(overview: Overview, families: Sequence[Family]) -> dict[str, Any]:
    """Return the comparisons of all pairs of settings as plain values; nothing where there are not two.

    `pairs` holds for "a,b", places in `names` with a before b, by task and under "" over all of them:
    [mean of a - b, low, high, p, pairs], without bounds and p (null) where one pair alone is there. `start` is the
    pair to begin with, `anchors` are where their runs stand.
    """
    chosen = [family for family in families if any(setting.records for setting in family.settings)][:MOST_NAMES]
    pairs = {}
    for (a, left), (b, right) in combinations(enumerate(chosen), 2):
        matched = [(one, other) for one in left.settings for other in right.settings if one.task == other.task]
        if found := _compared(matched):
            pairs[f"{a},{b}"] = found
    if not pairs:
        return {}
    names = [family.name for family in chosen]
    first = next((place for place, family in enumerate(chosen) if family.beside is not None), 0)
    against = (overview.baseline(setting) for setting in chosen[first].settings)
    second = next(
        (names.index(base.name) for base in against if base is not None and base.name in names), int(not first)
    )
    anchors = [family.anchor for family in chosen]
    start = [first, second]
    return {"names": names, "anchors": anchors, "tasks": list(overview.tasks), "pairs": pairs, "start": start}


def _compared(matched: Sequence[tuple[Setting, Setting]]) -> dict[str, list[float | None]]:
    found = {one.task: _plain(compare_all([(one, other)], SCORE)) for one, other in matched}
    known = {task: values for task, values in found.items() if values is not None}
    every = _plain(compare_all(matched, SCORE))
    return {**known, EVERY: every} if every is not None and len(known) > 1 else known


def _plain(found: Comparison | None) -> list[float | None] | None:
    if found is None:
        return None
    bounds = [round(x, 3) if math.isfinite(x) else None for x in (found.mean, found.low, found.high)]
    return [*bounds, found.p_value, found.pairs]
