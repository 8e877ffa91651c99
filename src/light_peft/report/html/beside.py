"""The tables of a page: every setting beside plain PEFT, over all tasks and in each."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from light_peft.report.html.entries import Column, Entry, Table, amount, difference, probability, times
from light_peft.report.html.svg import Look
from light_peft.report.overview import NOTHING, Overview
from light_peft.report.results import FIGURES, Comparison, Figure, Setting

SCORE, BLOCKS, TRAINABLES = FIGURES["score"], FIGURES["blocks"], FIGURES["trainables"]
RATIOS = {
    "step_speed": Column("step speed", "× plain", hint="training examples a second, over plain PEFT's"),
    "seconds": Column("whole run", "× plain", hint="seconds of all phases, estimation too, over plain PEFT's"),
    "memory": Column("peak memory", "× plain", hint="highest memory of the whole run, over plain PEFT's"),
    "infer": Column("inference", "× plain", hint="evaluation examples a second, over plain PEFT's"),
}
NAME = Column("setting", is_number=False)
RUNS = Column("runs", hint="finished runs: tasks times seeds")
DIFFERENCE = Column("beside plain", "points", hint="difference of scores paired by seed, with its 95 % interval")
TEST = Column("p", hint="paired permutation test against plain PEFT, two-sided")


@dataclass(frozen=True)
class Family:
    """One way of fine-tuning on all tasks that it was run on.

    Attributes:
        name: Its name.
        look: How it is drawn.
        settings: One for each task.
        beside: What its scores have over those of plain PEFT, over all tasks and seeds; None for plain PEFT.
        anchor: Where its runs are on the page.
    """

    name: str
    look: Look
    settings: tuple[Setting, ...]
    beside: Comparison | None
    anchor: str

    def link(self, task: str | None = None) -> str:
        """Return the link to its runs, or to those on a task."""
        tasks = [setting.task for setting in self.settings]
        return f"#{self.anchor}" if task is None else f"#{self.anchor}-{tasks.index(task)}"

    @property
    def entry(self) -> Entry:
        """The place of its name in a table."""
        return Entry(self.name, self.name, self.link(), look=self.look)


def families_of(overview: Overview, looks: Mapping[str, Look]) -> list[Family]:
    """Return the settings by name."""
    rows = [(name, tuple(overview.row(name))) for name in overview.names]
    return [
        Family(name, looks[name], row, overview.over_baselines(row, SCORE), f"runs-{number}")
        for number, (name, row) in enumerate(rows)
    ]


def everything(overview: Overview, families: Sequence[Family]) -> Table:
    """Return the table with one row for each way of fine-tuning, over all tasks."""
    limit, tasks = scale_of([family.beside for family in families]), len(overview.tasks)
    rows = []
    for family in families:
        link = family.link()
        there = [values for one in family.settings if (values := list(one.values(SCORE).values()))]
        mean = amount([fmean(map(fmean, there))] if len(there) == tasks else [], 1, link)
        sizes = [amount(_mean_of_tasks(family, figure.key), figure.digits, link) for figure in (BLOCKS, TRAINABLES)]
        ratios = [overview.mean_ratio(family.settings, FIGURES[key]) for key in RATIOS]
        tested = [difference(family.beside, link, limit), probability(family.beside, link)]
        rows.append(
            [family.entry, _runs(family.settings, link), mean, *tested, *sizes, *(times(r, link) for r in ratios)]
        )
    score = Column("score", "× 100" if tasks == 1 else f"mean of {tasks} tasks")
    sized = [Column("blocks kept", "%"), Column("trainables", hint="PEFT parameters that train, without the head")]
    columns = [NAME, RUNS, score, DIFFERENCE, TEST, *sized, *RATIOS.values()]
    return Table("Over all tasks" if tasks > 1 else "All settings", columns, rows, _held_against(overview))


def scores(overview: Overview, families: Sequence[Family]) -> Table:
    """Return the table of scores: settings by tasks."""
    columns = [NAME, *(Column(task, overview.metric(task)) for task in overview.tasks)]
    rows = []
    for family in families:
        own = {setting.task: setting for setting in family.settings}
        found = [_score(overview, own[task], family) if task in own else Entry(NOTHING) for task in overview.tasks]
        rows.append([family.entry, *found])
    return Table("Scores × 100, mean ± standard deviation over seeds", columns, rows)


def details(overview: Overview, families: Sequence[Family], task: str) -> Table:
    """Return the table of one task, every figure as it was measured."""
    own = [(family, setting) for family in families for setting in family.settings if setting.task == task]
    found = [overview.over_baselines([setting], SCORE) for _, setting in own]
    measured = [figure for figure in FIGURES.values() if figure is not SCORE]
    limit, rows = scale_of(found), []
    for (family, setting), beside in zip(own, found, strict=True):
        link = family.link(task)
        row = [family.entry._replace(link=link), _runs([setting], link)]
        row.append(_measured(setting, SCORE, link) if setting.records else _score(overview, setting, family))
        row += [difference(beside, link, limit), probability(beside, link)]
        rows.append([*row, *(_measured(setting, figure, link) for figure in measured)])
    columns = [NAME, RUNS, Column(overview.metric(task), "× 100"), DIFFERENCE, TEST]
    return Table(task, [*columns, *(Column(one.title, one.unit) for one in measured)], rows)


def scale_of(found: Sequence[Comparison | None]) -> float:
    """Return an end for a scale from minus to plus it, on which all comparisons have their place."""
    bounds = [abs(x) for one in found if one for x in (one.low, one.mean, one.high) if math.isfinite(x)]
    return 1.08 * max(bounds, default=0.0) or 1.0


def _held_against(overview: Overview) -> list[str]:
    """Say what every setting is held against, and which runs do not count."""
    baselines = dict.fromkeys(base.name for one in overview.settings if (base := overview.baseline(one)) is not None)
    said = "each task and seed is a pair; ratios are geometric means over seeds, then tasks; p is not corrected"
    held = [f"Held against {' or '.join(baselines)} of the same task: {said}."] if baselines else []
    return [*held, *overview.repeated]


def _mean_of_tasks(family: Family, key: str) -> list[float]:
    """Return the mean over the tasks of a figure, in a list; an empty one where nothing is known."""
    means = [fmean(values) for one in family.settings if (values := list(one.values(FIGURES[key]).values()))]
    return [fmean(means)] if means else []


def _measured(setting: Setting, figure: Figure, link: str) -> Entry:
    return amount(list(setting.values(figure).values()), figure.digits, link)


def _score(overview: Overview, setting: Setting, family: Family) -> Entry:
    """Return the scores of a setting; where runs have failed or are missing it says so."""
    found = _measured(setting, SCORE, family.link(setting.task))
    state = overview.state(setting)
    if not setting.records:
        return found._replace(text=state, link="#broken")
    return found._replace(note=", ".join(filter(None, (found.note, state))))


def _runs(settings: Sequence[Setting], link: str) -> Entry:
    """Return how many runs have finished, and of how many."""
    done = sum(len(setting.records) for setting in settings)
    asked = done + sum(len(setting.failed) + len(setting.missing) for setting in settings)
    return Entry(f"{done}" if done == asked else f"{done} of {asked}", str(done), link)
