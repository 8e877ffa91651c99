"""What a page says first: a few figures, large."""

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from light_peft.artifacts import RunRecord
from light_peft.report.html.beside import Family
from light_peft.report.html.entries import signed
from light_peft.report.overview import Overview
from light_peft.report.results import FIGURES

RATIOS = (
    ("step_speed", "training speed", "examples a second"),
    ("seconds", "whole-run time", "estimation included"),
    ("memory", "peak memory", "of the whole run"),
    ("infer", "inference speed", "examples a second"),
)


class Tile(NamedTuple):
    """One figure."""

    what: str
    figure: str
    note: str


class Headline(NamedTuple):
    """The tiles, and of which setting they are.

    Attributes:
        tiles: The figures.
        name: The setting; empty where the page is of one run.
        against: What it is held against.
        link: Where its runs are.
        among: The number of settings that it was chosen from.
    """

    tiles: list[Tile]
    name: str = ""
    against: str = ""
    link: str = ""
    among: int = 1


def of_sweep(overview: Overview, families: Sequence[Family]) -> Headline | None:
    """Return the setting that scores best beside its baseline, of those that cut and were run on most tasks."""
    cuts = [(one.beside, one) for one in families if not all(setting.is_plain for setting in one.settings)]
    found = [(score, family) for score, family in cuts if score is not None]
    if not found:
        return None
    widest = max(len(family.settings) for _, family in found)
    score, family = max((one for one in found if len(one[1].settings) == widest), key=lambda one: one[0].mean)
    bounds = f"95 % interval {signed(score.low)} to {signed(score.high)}" if score.pairs > 1 else "one pair of runs"
    tiles = [Tile("score, points", signed(score.mean), bounds)]
    blocks = [values.values() for one in family.settings if (values := one.values(FIGURES["blocks"]))]
    if blocks:
        tiles.append(Tile("blocks kept", f"{fmean(map(fmean, blocks)):.0f} %", "of the blocks' parameters"))
    for key, title, note in RATIOS:
        ratio = overview.mean_ratio(family.settings, FIGURES[key])
        tiles += [Tile(title, f"{ratio[0]:.2f}×", note)] if ratio is not None else []
    against = dict.fromkeys(base.name for one in family.settings if (base := overview.baseline(one)) is not None)
    return Headline(tiles, family.name, " or ".join(against), family.link(), len(found))


def of_run(record: RunRecord) -> Headline:
    """Return the figures of a single run."""
    tiles = []
    for key, figure in FIGURES.items():
        value = figure.value(record)
        title, unit = (record.primary_metric, "× 100") if key == "score" else (figure.title, figure.unit)
        tiles += [Tile(title, figure.shown(value), unit)] if value is not None else []
    return Headline(tiles)
