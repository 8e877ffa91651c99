"""The figures of a sweep as one long table of comma-separated values: a row per task, setting and figure."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from light_peft.report.figures import FIGURES, Figure
from light_peft.report.overview import Overview
from light_peft.report.results import Setting, seed_of
from light_peft.report.statistics import Comparison, deviation, interval
from light_peft.sweeps.cells import Cell

BY = (*("task", "setting", "figure", "unit", "metric"), *("finished", "failed", "missing"))
OWN = ("n", "mean", "sd", "low", "high")
OVER = tuple(field.name for field in fields(Comparison))
COLUMNS = (*BY, *OWN, "baseline", *(f"difference_{name}" for name in OVER), *(f"ratio_{name}" for name in OVER))
COLUMNS += ("seeds", "folders")


def tidy_csv(cells: Sequence[Cell]) -> str:
    """Return the table; what does not apply is empty, and so are the bounds of a single pair.

    `low` and `high` are the ends of the 95 % interval; `difference_*` is setting less baseline, `ratio_*` setting over
    baseline, with their intervals and tests; `seeds` and `folders` name the runs behind it, in one order.
    """
    overview, text = Overview(cells), io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for setting in overview.settings:
        for figure in FIGURES.values():
            row = _row(overview, setting, figure)
            writer.writerow([_shown(row.get(column)) for column in COLUMNS])
    return text.getvalue()


def _row(overview: Overview, setting: Setting, figure: Figure) -> dict[str, Any]:
    baseline = overview.baseline(setting)
    values = list(setting.values(figure).values())
    row: dict[str, Any] = {
        **{"task": setting.task, "setting": setting.name, "figure": figure.key, "unit": figure.unit},
        **{"metric": setting.metric if figure.key == "score" else None, "finished": len(setting.records)},
        **{"failed": len(setting.failed), "missing": len(setting.missing), "n": len(values)},
        "baseline": baseline.name if baseline is not None else None,
        "seeds": " ".join(str(seed_of(cell)) for cell in setting.finished),
        "folders": " ".join(str(cell.folder) for cell in setting.finished),
    }
    if values:
        found = interval(values)
        row |= {"mean": found.mean, "sd": deviation(values), "low": found.low, "high": found.high}
    for prefix, ratio in (("difference", False), ("ratio", True)):
        compared = overview.over_baselines([setting], figure, ratio)
        row |= {f"{prefix}_{name}": getattr(compared, name) for name in OVER if compared is not None}
        if compared is not None and compared.pairs == 1:
            row |= {f"{prefix}_low": None, f"{prefix}_high": None}
    return row


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.10g}" if math.isfinite(value) else ""
    return "" if value is None else str(value)
