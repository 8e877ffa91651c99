"""What the phases of runs cost: seconds as bars beside each other, and all that is known of a single run."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any, NamedTuple

from light_peft.artifacts import RunRecord
from light_peft.report.html.entries import Column, Entry, Table
from light_peft.report.overview import NOTHING
from light_peft.report.results import Setting

PHASES = ("load", "estimate", "surgery", "train", "evaluate")
MIB = 2**20


class Share(NamedTuple):
    """One phase in the bar of a setting: its seconds, and its width in percent of the longest run."""

    phase: str
    seconds: float
    percent: float


class Bar(NamedTuple):
    """The seconds of a setting's runs by phase, means over its seeds."""

    setting: Setting
    shares: list[Share]
    seconds: float


def bars_of(settings: Sequence[Setting]) -> list[Bar]:
    """Return the bars of the settings of one task, on one scale."""
    means = [(setting, _mean_seconds(setting.records)) for setting in settings if setting.records]
    longest = max((sum(seconds.values()) for _, seconds in means), default=0.0)
    if not longest:
        return []
    return [
        Bar(setting, [Share(p, s, round(100 * s / longest, 2)) for p, s in seconds.items() if s], sum(seconds.values()))
        for setting, seconds in means
    ]


def phases_of(record: RunRecord) -> Table:
    """Return the cost of one run by phase."""
    rows = [
        [Entry(name, str(place)), *_costs(record.phases[name])]
        for place, name in enumerate(PHASES)
        if name in record.phases
    ]
    total = record.totals
    last = [_number(total.get("seconds"), 1), *[Entry("")] * 4, _number(total.get("peak_memory_bytes"), 0, MIB)]
    columns = [Column("phase", is_number=False), Column("time", "s"), Column("steps"), Column("speed", "examples/s")]
    columns += [Column("tokens"), Column("work", "TFLOP"), Column("peak memory", "MiB")]
    return Table("Cost by phase", columns, [*rows, [Entry("whole run", str(len(PHASES))), *last]])


def _costs(phase: dict[str, Any]) -> list[Entry]:
    examples, seconds = phase.get("examples"), phase.get("seconds")
    speed = examples / seconds if examples is not None and seconds else None
    return [
        _number(seconds, 1),
        _number(phase.get("steps"), 0),
        _number(speed, 1),
        _number(phase.get("tokens"), 0),
        _number(phase.get("flops"), 2, 1e12),
        _number(phase.get("peak_memory_bytes"), 0, MIB),
    ]


def _number(value: float | None, digits: int, unit: float = 1) -> Entry:
    return Entry(NOTHING) if value is None else Entry(f"{value / unit:,.{digits}f}", repr(value))


def _mean_seconds(records: Sequence[RunRecord]) -> dict[str, float]:
    return {
        name: fmean(float(record.phases.get(name, {}).get("seconds") or 0) for record in records) for name in PHASES
    }
