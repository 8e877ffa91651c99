"""The sections of figures on a page, each with its panels by task."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from light_peft.report.html import curves, distributions, fronts, ranks, structure
from light_peft.report.html.series import tasks_of
from light_peft.report.html.svg import Drawing, Look
from light_peft.report.results import Setting

Looks = Mapping[str, Look]


class Block(NamedTuple):
    """Panels that belong together, of one task; of none where they are of all."""

    task: str
    heading: str
    drawings: list[Drawing]
    look: Look | None = None


class Section(NamedTuple):
    """A heading, what is to be seen, and the panels.

    Attributes:
        key: Its anchor.
        title: Its heading.
        intro: One or two sentences.
        blocks: The panels.
        legend: Looks by name, where panels hold several series.
        is_long: Whether there are so many panels that they are folded up.
    """

    key: str
    title: str
    intro: str
    blocks: list[Block]
    legend: dict[str, Look]
    is_long: bool = False


def sections_of(settings: Sequence[Setting], looks: Looks, searches: Sequence[Drawing]) -> list[Section]:
    """Return the sections that have something to show; `searches` are the panels of searches."""
    names = {setting.name for setting in settings}
    legend = {name: look for name, look in looks.items() if name in names}
    searched = [Block("", "Search", list(searches))] if searches else []
    found = [
        Section("front", "What a score costs", FRONT, [*searched, *_by_task(settings, looks, _fronts)], legend),
        Section("layers", "What is left of the model", LAYERS, [*_by_task(settings, looks, _layers)], {}),
        Section("ranks", "What is left of PEFT", RANKS, [*_by_task(settings, looks, _ranks)], {}),
        Section("curves", "Loss and score", CURVES, [*_by_task(settings, looks, _curves)], legend),
        Section(
            "agreement",
            "How settled the decision was",
            AGREEMENT,
            [*_by_task(settings, looks, _agreement)],
            dict(curves.AGREEMENT.values()),
        ),
        Section(
            "importance",
            "Importance and the cut",
            IMPORTANCE,
            [*_by_task(settings, looks, _importance)],
            {},
            is_long=True,
        ),
    ]
    return [section for section in found if section.blocks]


FRONT = (
    "Each mark is a setting, a mean over its seeds with one standard deviation to each side; the broad line is the "
    "front of those that no other one beats in both."
)
LAYERS = (
    "Bars are what stays of each layer, mean over seeds; thin marks are single seeds; behind stands what was there."
)
RANKS = "Each square is a PEFT module: the darker, the more of its ranks stay; an empty one was removed."
CURVES = "Means over seeds; a long curve shows means of its parts."
AGREEMENT = (
    "The Jaccard index of what would be kept at one check of the estimation phase and at the check before it, mean "
    "over seeds: 1 is a decision that no longer changes."
)
IMPORTANCE = (
    "All that could be cut by its importance, of the first seed: filled what stays, pale what was cut. The dashed "
    "line is the cut; where not importance alone decided (each layer has a share of its own, or depth counts too), "
    "a bar on top spans where some were cut and some stayed."
)

Panels = Callable[[str, Sequence[Setting], Looks], Iterator[Block]]


def _by_task(settings: Sequence[Setting], looks: Looks, panels: Panels) -> Iterator[Block]:
    for task in tasks_of(settings):
        own = [setting for setting in settings if setting.task == task]
        yield from (block for block in panels(task, own, looks) if block.drawings)


def _fronts(task: str, settings: Sequence[Setting], looks: Looks) -> Iterator[Block]:
    yield Block(task, task, fronts.fronts(settings, looks))


def _layers(task: str, settings: Sequence[Setting], looks: Looks) -> Iterator[Block]:
    found = {
        what: [d for one in settings if (d := structure.layers_kept(one, looks[one.name], field))]
        for field, what in structure.KINDS.items()
    }
    if all(len(drawings) <= 1 for drawings in found.values()):
        yield Block(
            task, task, [one._replace(title=what[0].upper() + what[1:]) for what, some in found.items() for one in some]
        )
        return
    for what, drawings in found.items():
        yield Block(task, f"{task}, {what}", drawings)


def _ranks(task: str, settings: Sequence[Setting], looks: Looks) -> Iterator[Block]:
    drawings = []
    for setting in settings:
        decision = distributions.read_decision(setting.finished[0].folder)
        everything = decision[0].modules if decision is not None else ()
        drawings.append(ranks.ranks_kept(setting, looks[setting.name], everything))
    yield Block(task, task, [*filter(None, drawings)])


def _curves(task: str, settings: Sequence[Setting], looks: Looks) -> Iterator[Block]:
    both = (curves.loss_curves(settings, looks), curves.score_curves(settings, looks))
    yield Block(task, task, [*filter(None, both)])


def _agreement(task: str, settings: Sequence[Setting], looks: Looks) -> Iterator[Block]:
    drawings = (curves.agreement(setting, looks[setting.name]) for setting in settings)
    yield Block(task, task, [*filter(None, drawings)])


def _importance(task: str, settings: Sequence[Setting], looks: Looks) -> Iterator[Block]:
    for setting in settings:
        cell, look = setting.finished[0], looks[setting.name]
        decision = distributions.read_decision(cell.folder)
        if decision is not None and cell.record is not None:
            panels = distributions.importance(*decision, cell.record, look)
            yield Block(task, f"{task}, {setting.name}, seed {cell.record.seed}", panels, look)
