"""The page: what the cells of a sweep, or a single run, have to show, as one HTML file.

It asks nothing of a network, and the browser is told so: a policy in its head allows no other file, and no script but
the page's own.
"""

import base64
import hashlib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from light_peft.artifacts import RunRecord
from light_peft.report.html import beside, costs, headline, runs
from light_peft.report.html.facts import data_of
from light_peft.report.html.pairs import payload_of
from light_peft.report.html.searches import search_in
from light_peft.report.html.sections import sections_of
from light_peft.report.html.series import MOST, looks_of, shown_of
from light_peft.report.overview import Overview
from light_peft.report.provenance import provenance_of
from light_peft.sweeps.cells import Cell

HERE = Path(__file__).parent
TEMPLATE, STYLE, SCRIPT = "page.html", "page.css", "page.js"


def render(cells: Sequence[Cell], folders: Sequence[Path], place: Path) -> str:
    """Return the page of these cells, which were read from `folders`; its links are seen from the folder `place`.

    Raises:
        ValueError: If a file of a sweep or search is damaged.
    """
    overview = Overview(cells)
    looks, shown = looks_of(overview), shown_of(overview.settings)
    families = beside.families_of(overview, looks)
    records = [record for setting in overview.settings for record in setting.records]
    origin = provenance_of(cells)
    single = records[0] if len(cells) == 1 and records else None
    script = (HERE / SCRIPT).read_text(encoding="utf-8")
    return _template().render(
        title=_title(single) if single else " + ".join(folder.resolve().name for folder in folders),
        style=Markup((HERE / STYLE).read_text(encoding="utf-8")),
        script=Markup(script),
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        counts=runs.counts_of(cells),
        tasks=overview.tasks,
        families=families,
        headline=headline.of_run(single) if single else headline.of_sweep(overview, families),
        broken=runs.broken_of(overview, place),
        sections=sections_of(shown, looks, [found for folder in folders if (found := search_in(folder))]),
        left_out=len([setting for setting in overview.settings if setting.records]) - len(shown),
        most=MOST,
        pairs=payload_of(overview, families),
        phases=costs.PHASES,
        batches=[(family, runs.batches_of(family, place)) for family in families],
        origin=origin,
        data=data_of(records),
        commands=origin.commands or _own_commands(cells),
        **(_of_run(single) if single else _of_sweep(overview, families)),
    )


def _of_run(record: RunRecord) -> dict[str, Any]:
    """Return what only the page of a single run has."""
    return {"tables": [], "by_task": [], "bars": [], "by_phase": costs.phases_of(record)}


def _of_sweep(overview: Overview, families: Sequence[beside.Family]) -> dict[str, Any]:
    """Return what only a page with several runs has."""
    tables = [beside.everything(overview, families)]
    tables += [beside.scores(overview, families)] if len(overview.tasks) > 1 else []
    by_task = [beside.details(overview, families, task) for task in overview.tasks]
    bars = [(task, costs.bars_of([one for one in overview.settings if one.task == task])) for task in overview.tasks]
    return {"tables": tables, "by_task": by_task, "bars": bars, "by_phase": None}


def _title(record: RunRecord) -> str:
    return f"{record.task}, {record.model}, {record.peft}, seed {record.seed}"


def _template() -> Any:
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    return environment.get_template(TEMPLATE)


def _own_commands(cells: Sequence[Cell]) -> list[str]:
    """Return the command of a single run that no sweep asked for, as it was called."""
    words = cells[0].record.words if len(cells) == 1 and cells[0].record is not None else []
    return [shlex.join(["python", "-m", "run", *words])] if words else []
