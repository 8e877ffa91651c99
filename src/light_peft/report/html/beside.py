"""The tables of a page: every setting beside plain PEFT, over all tasks and in each."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from light_peft.report.html.entries import NOTHING, Column, Entry, Table, amount, difference, probability, times
from light_peft.report.html.series import tasks_of
from light_peft.report.html.svg import Look
from light_peft.report.results import FIGURES, Comparison, Setting, baseline_of, compare_all

SCORE = FIGURES["score"]
RATIOS = {
    "step_speed": Column("step speed", "× plain", hint="training examples a second, over plain PEFT's"),
    "seconds": Column(
        "whole run", "× plain", hint="seconds of all phases, estimation and evaluation too, over plain PEFT's"
    ),
    "memory": Column("peak memory", "× plain", hint="highest memory of the whole run over plain PEFT's"),
    "infer": Column("inference", "× plain", hint="evaluation examples a second, over plain PEFT's"),
}
DIFFERENCE = Column("beside plain", "points", hint="difference of scores paired by seed, with its 95 % interval")
TEST = Column("p", hint="paired permutation test against plain PEFT, two-sided")


@dataclass(frozen=True)
class Family:
    """One way of fine-tuning on all tasks that it was run on.

    Attributes:
        name: Its name.
        look: How it is drawn.
        settings: One for each task.
        baselines: What each of them is held against, where there is something.
        anchor: Where its runs are on the page.
    """

    name: str
    look: Look
    settings: tuple[Setting, ...]
    baselines: tuple[Setting | None, ...]
    anchor: str

    @property
    def pairs(self) -> list[tuple[Setting, Setting]]:
        """The settings that have a baseline, with it."""
        both = zip(self.settings, self.baselines, strict=True)
        return [(setting, baseline) for setting, baseline in both if baseline is not None]

    @property
    def is_plain(self) -> bool:
        """Whether nothing was cut."""
        return all(setting.is_plain for setting in self.settings)

    def against(self, key: str, *, ratio: bool = True) -> Comparison | None:
        """Return a figure over that of the baselines, every seed of every task a pair."""
        return compare_all(self.pairs, FIGURES[key], ratio)

    def link(self, task: str | None = None) -> str:
        """Return the link to its runs, or to those on a task."""
        tasks = [setting.task for setting in self.settings]
        return f"#{self.anchor}" if task is None else f"#{self.anchor}-{tasks.index(task)}"


def families_of(settings: Sequence[Setting], looks: Mapping[str, Look]) -> list[Family]:
    """Return the settings by name."""
    found = []
    for number, (name, look) in enumerate(looks.items()):
        own = tuple(setting for setting in settings if setting.name == name)
        found.append(Family(name, look, own, tuple(baseline_of(one, settings) for one in own), f"runs-{number}"))
    return found


def overview(families: Sequence[Family], tasks: int) -> Table:
    """Return the table with one row for each way of fine-tuning, over all tasks."""
    found = [family.against("score", ratio=False) for family in families]
    limit = scale_of(found)
    rows = []
    for family, beside in zip(families, found, strict=True):
        link, there = family.link(), [setting for setting in family.settings if setting.records]
        scores = [sum(values) / len(values) for one in there if (values := list(one.values(SCORE).values()))]
        mean = sum(scores) / len(scores) if scores else 0.0
        average = Entry(f"{mean:.1f}", repr(mean), link) if len(scores) == tasks else Entry(NOTHING, link=link)
        values = [_gathered(family, key) for key in ("blocks", "trainables")]
        sizes = [
            amount([sum(v) / len(v)] if v else [], FIGURES[k].digits, link)
            for k, v in zip(("blocks", "trainables"), values, strict=True)
        ]
        rows.append(
            [
                named(family),
                Entry(*_runs(family.settings), link),
                average,
                difference(beside, link, limit),
                probability(beside, link),
                *sizes,
                *(times(family.against(key), link) for key in RATIOS),
            ]
        )
    score = Column("score" if tasks == 1 else f"mean of {tasks} tasks", "× 100")
    sizes_head = [Column("blocks kept", "%"), Column("trainables", hint="PEFT parameters that train, without the head")]
    columns = [
        Column("setting", is_number=False),
        Column("runs"),
        score,
        DIFFERENCE,
        TEST,
        *sizes_head,
        *RATIOS.values(),
    ]
    return Table("Every setting beside plain PEFT", columns, rows, notes_of(families))


def scores(families: Sequence[Family], settings: Sequence[Setting]) -> Table:
    """Return the table of scores: settings by tasks."""
    tasks = tasks_of(settings)
    metrics = {one.task: one.metric for one in reversed(settings) if one.records}
    columns = [Column("setting", is_number=False), *(Column(task, metrics.get(task, "")) for task in tasks)]
    rows = []
    for family in families:
        own = {setting.task: setting for setting in family.settings}
        rows.append([named(family), *(_score(own.get(task), family) for task in tasks)])
    return Table("Scores × 100, mean ± standard deviation over seeds", columns, rows)


def details(families: Sequence[Family], task: str) -> Table:
    """Return the table of one task, every figure as it was measured."""
    own = [(family, setting) for family in families for setting in family.settings if setting.task == task]
    found = [compare_all([pair for pair in family.pairs if pair[0] is one], SCORE) for family, one in own]
    limit, rows = scale_of(found), []
    for (family, setting), beside in zip(own, found, strict=True):
        link = family.link(task)
        figures = (figure for key, figure in FIGURES.items() if key != "score")
        measured = [amount(list(setting.values(figure).values()), figure.digits, link) for figure in figures]
        row = [named(family, task), Entry(*_runs([setting]), link), _score(setting, family)]
        rows.append([*row, difference(beside, link, limit), probability(beside, link), *measured])
    metric = next((setting.metric for _, setting in own if setting.records), "score")
    heads = [Column(figure.title, figure.unit) for key, figure in FIGURES.items() if key != "score"]
    columns = [Column("setting", is_number=False), Column("runs"), Column(metric, "× 100"), DIFFERENCE, TEST, *heads]
    return Table(task, columns, rows)


def named(family: Family, task: str | None = None) -> Entry:
    """Return the place of a setting's name."""
    return Entry(family.name, family.name, family.link(task), css=f"{family.look.css} {family.look.number}")


def scale_of(found: Sequence[Comparison | None]) -> float:
    """Return the largest bound of all comparisons, for a scale that holds them all."""
    bounds = [abs(x) for one in found if one for x in (one.low, one.mean, one.high) if math.isfinite(x)]
    return 1.08 * max(bounds, default=1.0) or 1.0


def notes_of(families: Sequence[Family]) -> list[str]:
    """Say what every setting is held against."""
    against = sorted({b.name for family in families for b in family.baselines if b is not None})
    if not against:
        return []
    pairs = "; runs are paired by task and seed, ratios are geometric means"
    return [f"Held against {' or '.join(against)} of the same task{pairs}."]


def _gathered(family: Family, key: str) -> list[float]:
    return [value for setting in family.settings for value in setting.values(FIGURES[key]).values()]


def _score(setting: Setting | None, family: Family) -> Entry:
    if setting is None:
        return Entry("not asked")
    found = amount(list(setting.values(SCORE).values()), SCORE.digits, family.link(setting.task))
    return found if setting.records else found._replace(text="failed" if setting.failed else "missing")


def _runs(settings: Sequence[Setting]) -> tuple[str, str]:
    """Return how many runs have finished, of how many, and the same to sort by."""
    done = sum(len(setting.records) for setting in settings)
    asked = done + sum(len(setting.failed) + len(setting.missing) for setting in settings)
    return (f"{done}" if done == asked else f"{done} of {asked}"), str(done)
