"""The tables of a sweep: one row per way of fine-tuning, and the details; as Markdown, LaTeX and CSV.

The same records give the same bytes: nothing of it depends on when or where a table is made.
"""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from light_peft.report.figures import FIGURES, Figure
from light_peft.report.markup import Table, markdown_code, markdown_text, to_latex, to_markdown
from light_peft.report.overview import NOTHING, Overview
from light_peft.report.provenance import Provenance, provenance_of
from light_peft.report.results import Setting
from light_peft.report.statistics import Comparison, Interval, interval, smallest_p, spread
from light_peft.report.tidy import tidy_csv
from light_peft.sweeps.cells import Cell
from light_peft.writing import whole_file

SCORE, BLOCKS, TRAINABLES = FIGURES["score"], FIGURES["blocks"], FIGURES["trainables"]
COSTS = (
    ("step speed-up", FIGURES["step_speed"]),
    ("whole-run time", FIGURES["seconds"]),
    ("peak memory", FIGURES["memory"]),
)
"""What is given as a ratio to plain PEFT."""


def markdown(cells: Sequence[Cell]) -> str:
    """Return both tables with what is to be said of them, as Markdown."""
    overview = Overview(cells)
    found = provenance_of(cells)
    parts = [to_markdown(methods_table(overview)), to_markdown(details_table(overview))]
    parts += [_list([*found.warnings, *_readings(overview)])]
    if overview.footnotes:
        parts.append(
            "\n".join(f"- {markdown_text(text)} {markdown_code(cell.command)}" for text, cell in overview.footnotes)
        )
    parts.append(_list([f"{name}: {text}" for name, text in _origins(found)]))
    if found.commands:
        parts.append("\n".join(["Commands:", "", *(f"    {command}" for command in found.commands)]))
    return "\n\n".join(parts) + "\n"


def latex(cells: Sequence[Cell]) -> str:
    """Return both tables as LaTeX floats; what they come from stands in comments above them."""
    overview = Overview(cells)
    found = provenance_of(cells)
    origins = [f"{name}: {text}" for name, text in _origins(found)]
    head = ["Needs the packages booktabs and adjustbox; names beyond Latin letters need LuaLaTeX or XeLaTeX.", *origins]
    head += [f"Command: {command}" for command in found.commands]
    head += [f"{text} {cell.command}" for text, cell in overview.footnotes]
    comments = [f"% {' '.join(line.split())}" for line in head]
    said = [*found.warnings, *_readings(overview), *(text for text, _ in overview.footnotes)]
    tables = [to_latex(methods_table(overview), said), to_latex(details_table(overview))]
    return "\n".join([*comments, *tables]) + "\n"


def write_tables(cells: Sequence[Cell], stem: Path) -> list[Path]:
    """Write the tables as STEM.md, STEM.tex and STEM.csv, and return their paths.

    Raises:
        NotWrittenError: If they cannot be written.
    """
    found = {".md": markdown(cells), ".tex": latex(cells), ".csv": tidy_csv(cells)}
    paths = []
    for ending, text in found.items():
        paths.append(stem.with_name(stem.name + ending))
        with whole_file(paths[-1]) as temporary:
            temporary.write_bytes(text.encode())
    return paths


def methods_table(overview: Overview) -> Table:
    """Return the table of a paper: a row per way of fine-tuning, a column per task, then what it costs."""
    tasks = [f"{task} ({overview.metric(task)})" for task in overview.tasks]
    average = ["average"] if len(overview.tasks) > 1 else []
    costs = [title for title, _ in COSTS]
    header = ["method", *tasks, *average, "to plain PEFT", "blocks kept", "PEFT trainables", *costs, "seeds"]
    caption = "Scores × 100, mean ± standard deviation over seeds; times and memory as ratios to plain PEFT."
    rows = [_method_row(overview, name) for name in overview.names]
    return Table(caption, tuple(header), tuple(rows), names=1)


def details_table(overview: Overview) -> Table:
    """Return a row per task and setting: intervals, what it has over plain PEFT, and the test of it."""
    header = ["task", "method", "seeds", "score", "95 % interval", "against", "difference", "95 % interval", "p"]
    header += ["smallest p", "blocks kept", "PEFT trainables", *(title for title, _ in COSTS)]
    rows = [_detail_row(overview, setting) for setting in overview.settings]
    caption = "Each task by itself: scores × 100 with their 95 % intervals, and their differences to plain PEFT."
    return Table(caption, tuple(header), tuple(rows), names=2)


def _method_row(overview: Overview, name: str) -> tuple[str, ...]:
    row = overview.row(name)
    scores = [
        overview.scores(setting) if (setting := overview.setting(task, name)) else NOTHING for task in overview.tasks
    ]
    average = [_average(row, len(overview.tasks))] if len(overview.tasks) > 1 else []
    difference = _is_itself(overview, row) or _tested(overview.over_baselines(row, SCORE))
    costs = [_is_itself(overview, row) or _mean_ratio(overview, row, figure) for _, figure in COSTS]
    seeds = sorted({len(setting.records) for setting in row})
    numbers = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"{seeds[0]}"
    return (name, *scores, *average, difference, _kept(row), _over_tasks(row, TRAINABLES), *costs, numbers)


def _detail_row(overview: Overview, setting: Setting) -> tuple[str, ...]:
    baseline = overview.baseline(setting)
    values = list(setting.values(SCORE).values())
    found = overview.over_baselines([setting], SCORE)
    tests = (NOTHING,) * 4
    if found is not None:
        p_value = NOTHING if found.p_value is None else _probability(found.p_value)
        tests = (_signed(found.mean), _bounds(found, signed=True), p_value, _probability(found.smallest_p))
    costs = [_cost(overview, setting, figure) for _, figure in COSTS]
    return (
        *(setting.task, setting.name, f"{len(setting.records)}", overview.scores(setting)),
        _bounds(interval(values), signed=False) if values else NOTHING,
        baseline.name if baseline is not None else NOTHING,
        *tests,
        *(_kept([setting]), _over_tasks([setting], TRAINABLES), *costs),
    )


def _readings(overview: Overview) -> list[str]:
    """Return how the tables are to be read."""
    tested = [found.pairs for one in overview.settings if (found := overview.over_baselines([one], SCORE))]
    numbers = sorted(pairs for pairs in set(tested) if pairs > 1)
    floors = "".join(f" {pairs} seeds give no p below {_probability(smallest_p(pairs))}." for pairs in numbers)
    metrics = dict.fromkeys(overview.metric(task) for task in overview.tasks)
    without = sum(len(setting.failed) + len(setting.missing) for setting in overview.settings)
    unfinished = [f"Without a result: {without} of {len(overview.cells)} cells; the same sweep again runs them."]
    return [
        "Plain PEFT is that of the same kind (else LoRA) on the same task, for other plain PEFT LoRA; all is paired "
        "by seed. What is held against nothing says 1×.",
        "Ratios are geometric means over seeds, then tasks; whole-run time includes the estimation, also one that "
        "was taken over from another run, loading and evaluation. Peak memory is that of the process, on a GPU what is "
        "allocated there.",
        *([f"The average is over different metrics ({'; '.join(metrics)})."] if len(metrics) > 1 else []),
        "p: two-sided paired permutation test of the score, over all tasks and seeds in the first table, over the "
        "seeds of a task in the second; not corrected for the number of comparisons." + floors,
        *(unfinished if without else []),
        *overview.repeated,
    ]


def _origins(found: Provenance) -> list[tuple[str, str]]:
    """Return what the figures come from, by name."""
    several = (
        ("Ran on", found.machines),
        ("Versions", found.versions),
        ("Code", found.commits),
        ("Model", found.models),
        ("Data", found.data),
    )
    origins = [(name, text) for name, texts in several for text in texts]
    return [*origins, *([("Estimations", found.estimation)] if found.estimation else [])]


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {markdown_text(line)}" for line in lines)


def _is_itself(overview: Overview, row: Sequence[Setting]) -> str:
    """Return what the plain PEFT that others are held against says of its ratio to itself; empty for others."""
    there = [setting for setting in row if setting.records]
    measures = [setting.is_baseline and overview.baseline(setting) is None for setting in there]
    return "1×" if there and all(measures) else ""


def _average(row: Sequence[Setting], num_tasks: int) -> str:
    """Return the mean over all tasks, over the seeds that are there on each; nothing where a task is not."""
    values = [setting.values(SCORE) for setting in row]
    seeds = sorted(set.intersection(*(set(one) for one in values)))
    if len(row) < num_tasks or not seeds:
        return NOTHING
    shown = spread([statistics.fmean(one[seed] for one in values) for seed in seeds], 1)
    is_part = any(len(one) > len(seeds) for one in values)
    return f"{shown} ({len(seeds)} seeds)" if is_part else shown


def _tested(found: Comparison | None) -> str:
    """Return a difference with its interval and test."""
    if found is None:
        return NOTHING
    p_value = "" if found.p_value is None else f", p {_probability(found.p_value)}"
    pairs = f"{found.pairs} pair{'s' if found.pairs > 1 else ''}"
    return f"{_signed(found.mean)} {_bounds(found, signed=True)}{p_value} ({pairs})".replace(f" {NOTHING} ", " ")


def _mean_ratio(overview: Overview, row: Sequence[Setting], figure: Figure) -> str:
    found = overview.mean_ratio(row, figure)
    if found is None:
        return NOTHING
    ratio, tasks = found
    return f"{ratio:.2f}×" + (f" ({tasks} of {len(row)} tasks)" if tasks < len(row) else "")


def _cost(overview: Overview, setting: Setting, figure: Figure) -> str:
    """Return a cost as it is, and its ratio to plain PEFT."""
    values = list(setting.values(figure).values())
    if not values:
        return NOTHING
    found = overview.over_baselines([setting], figure, ratio=True)
    ratio = _is_itself(overview, [setting]) or (f"{found.mean:.2f}×" if found is not None else NOTHING)
    return f"{ratio} ({figure.shown(statistics.fmean(values))} {figure.unit})"


def _kept(row: Sequence[Setting]) -> str:
    shown = _over_tasks(row, BLOCKS)
    return shown if shown == NOTHING else f"{shown} %"


def _over_tasks(row: Sequence[Setting], figure: Figure) -> str:
    """Return the mean over tasks of the means over seeds."""
    means = [statistics.fmean(values.values()) for setting in row if (values := setting.values(figure))]
    return figure.shown(statistics.fmean(means)) if means else NOTHING


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


def _bounds(found: Comparison | Interval, *, signed: bool) -> str:
    if not math.isfinite(found.low):
        return NOTHING
    low, high = (_signed(x) if signed else f"{x:.1f}".replace("-", "−") for x in (found.low, found.high))
    return f"[{low}, {high}]"


def _probability(value: float) -> str:
    return f"{value:.2g}" if value >= 0.001 else f"{value:.0e}"
