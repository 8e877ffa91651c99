"""The runs behind the numbers: where each one is, and the command that makes it again."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from light_peft.report.html.beside import Family
from light_peft.report.overview import Overview
from light_peft.report.results import FIGURES, Setting, seed_of
from light_peft.sweeps.cells import BROKEN, FINISHED, Cell


class Run(NamedTuple):
    """One run as a page lists it."""

    seed: str
    status: str
    score: str
    seconds: str
    folder: str
    link: str
    command: str
    config: str
    error: str
    estimation: str


class Batch(NamedTuple):
    """The runs of one setting on one task."""

    anchor: str
    task: str
    runs: list[Run]


def batches_of(family: Family, place: Path) -> list[Batch]:
    """Return the runs of a way of fine-tuning, by task; links are seen from the folder `place`."""
    return [
        Batch(family.link(one.task)[1:], one.task, [run_of(cell, place) for cell in one.cells])
        for one in family.settings
    ]


def run_of(cell: Cell, place: Path) -> Run:
    """Return one run."""
    record, seed = cell.record, seed_of(cell)
    done = record if record is not None and cell.status == FINISHED else None
    values = [FIGURES[key].value(done) if done is not None else None for key in ("score", "seconds")]
    score, seconds = ("" if v is None else f"{v:,.{digits}f}" for v, digits in zip(values, (2, 1), strict=True))
    folder, link = link_to(cell.folder, place)
    return Run(
        *("" if seed is None else str(seed), cell.status, score, seconds, folder, link, cell.command),
        record.config_sha256[:8] if record is not None else "",
        whole_error(cell),
        "reused" if record is not None and record.estimation.get("reused") else "",
    )


def broken_of(overview: Overview, place: Path) -> list[tuple[int, Setting, Run]]:
    """Return the runs without a result, each with its setting and the mark that tables have for it, 0 for none."""
    marks = {id(cell): number for number, (_, cell) in enumerate(overview.footnotes, start=1)}
    return [
        (marks.get(id(cell), 0), setting, run_of(cell, place))
        for setting in overview.settings
        for cell in (*setting.failed, *setting.missing)
    ]


def whole_error(cell: Cell) -> str:
    """Return all that is known of what went wrong; empty where nothing has."""
    if cell.status == FINISHED:
        return ""
    if cell.failure is not None:
        return f"{cell.failure.error}\n(exit code {cell.failure.code}, attempts: {cell.failure.attempts})"
    return (cell.record.error or "") if cell.record is not None else ""


def link_to(folder: Path | None, place: Path) -> tuple[str, str]:
    """Return a folder as seen from `place`, for people and as a link; empty without one."""
    if folder is None:
        return "", ""
    seen = Path(os.path.relpath(folder.resolve(), place.resolve())).as_posix()
    return seen, f"{quote(seen)}/"


def counts_of(cells: Sequence[Cell]) -> list[tuple[str, int]]:
    """Return how many cells are in which state, finished ones first."""
    order = [FINISHED, BROKEN, "interrupted", "running", "missing"]
    found = [cell.status for cell in cells]
    return [
        (status, found.count(status))
        for status in sorted(set(found), key=lambda s: order.index(s) if s in order else 9)
    ]
