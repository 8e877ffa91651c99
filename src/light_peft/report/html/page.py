"""The page: what the cells of a sweep, or a single run, have to show, as one HTML file that asks nothing of a network."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from light_peft.artifacts import RunRecord, read_json
from light_peft.report.html import beside, costs, facts, runs
from light_peft.report.html.entries import signed
from light_peft.report.html.pairs import payload_of
from light_peft.report.html.sections import sections_of
from light_peft.report.html.series import MOST, looks_of, shown_of, tasks_of
from light_peft.report.html.svg import MARKERS
from light_peft.report.results import FIGURES, Setting, settings_of
from light_peft.sweeps.cells import Cell

HERE = Path(__file__).parent
TEMPLATE, STYLE, SCRIPT = "page.html", "page.css", "page.js"
SEARCH = "search.json"
"""What a search leaves in the folder of its sweep."""


def render(cells: Sequence[Cell], folders: Sequence[Path], place: Path) -> str:
    """Return the page of these cells, which were read from `folders`; its links are seen from the folder `place`."""
    settings = settings_of(cells)
    looks, tasks, shown = looks_of(settings), tasks_of(settings), shown_of(settings)
    families = beside.families_of(settings, looks)
    records = [record for setting in settings for record in setting.records]
    single = records[0] if len(cells) == 1 and records else None
    script = (HERE / SCRIPT).read_text(encoding="utf-8")
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    return environment.get_template(TEMPLATE).render(
        title=" + ".join(folder.resolve().name for folder in folders),
        style=Markup((HERE / STYLE).read_text(encoding="utf-8")),
        script=Markup(script),
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        counts=runs.counts_of(cells),
        tasks=tasks,
        families=families,
        markers=MARKERS,
        headline=_tiles_of_run(single) if single else _headline(families),
        broken=[(setting, runs.run_of(cell, place)) for setting, cell in runs.broken_of(settings)],
        tables=[] if single else _tables(families, settings, tasks),
        by_task=[] if single else [beside.details(families, task) for task in tasks],
        sections=sections_of(shown, looks, [_search_in(folder) for folder in folders]),
        left_out=len([setting for setting in settings if setting.records]) - len(shown),
        most=MOST,
        pairs=payload_of(families, tasks),
        bars=[] if single else [(task, costs.bars_of([s for s in shown if s.task == task])) for task in tasks],
        phases=costs.PHASES,
        by_phase=costs.phases_of(single) if single else None,
        batches=[(family, runs.batches_of(family, place)) for family in families],
        facts=facts.facts_of(records),
        data=facts.data_of(records),
        commands=facts.commands_of(folders, records),
    )


def _tables(families: Sequence[beside.Family], settings: Sequence[Setting], tasks: Sequence[str]) -> list[Any]:
    tables = [beside.overview(families, len(tasks))]
    return [*tables, beside.scores(families, settings)] if len(tasks) > 1 else tables


def _headline(families: Sequence[beside.Family]) -> dict[str, Any] | None:
    """Return what there is to say first: of the settings that cut, the one that scores best beside its baseline."""
    cuts = [
        (family.against("score", ratio=False), family) for family in families if not family.is_plain and family.pairs
    ]
    found = [(score, family) for score, family in cuts if score is not None]
    if not found:
        return None
    widest = max(len(family.pairs) for _, family in found)
    score, family = max((one for one in found if len(one[1].pairs) == widest), key=lambda one: one[0].mean)
    bounds = f"{signed(score.low)} to {signed(score.high)}, 95 % interval" if score.pairs > 1 else "one pair of runs"
    tiles = [("score, points", signed(score.mean), bounds)]
    blocks = [v for one, _ in family.pairs for v in one.values(FIGURES["blocks"]).values()]
    tiles += (
        [("blocks kept", f"{sum(blocks) / len(blocks):.0f} %", "parameters of the foundation model's blocks")]
        if blocks
        else []
    )
    for key, title, note in (
        ("step_speed", "training speed", "examples a second"),
        ("seconds", "whole-run time", "estimation and evaluation included"),
        ("memory", "peak memory", "of the whole run"),
    ):
        ratio = family.against(key)
        tiles += [(title, f"{ratio.mean:.2f}×", note)] if ratio is not None else []
    baselines = sorted({baseline.name for _, baseline in family.pairs})
    return {
        "name": family.name,
        "beside": " or ".join(baselines),
        "tiles": tiles,
        "among": len(found),
        "link": family.link(),
    }


def _tiles_of_run(record: RunRecord) -> dict[str, Any]:
    """Return the figures of a single run."""
    tiles = []
    for key, title in (("score", record.primary_metric), *((key, FIGURES[key].title) for key in list(FIGURES)[1:])):
        figure = FIGURES[key]
        value = figure.value(record)
        tiles += [(title, figure.shown(value), figure.unit if key != "score" else "× 100")] if value is not None else []
    return {"name": "", "beside": "", "tiles": tiles, "among": 0, "link": ""}


def _search_in(folder: Path) -> Mapping[str, Any]:
    """Return what a search has left in the folder; nothing if there was none."""
    found = read_json(folder / SEARCH) if (folder / SEARCH).exists() else {}
    return found if isinstance(found, dict) else {}
