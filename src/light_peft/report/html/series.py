"""How the settings of a page look, the same in every figure, and which of them have panels of their own."""

from collections.abc import Sequence

from light_peft.report.html.svg import COLOURS, Look
from light_peft.report.overview import Overview
from light_peft.report.results import Setting

MOST = 12
"""Settings of one task that have panels of their own; a search has hundreds."""


def looks_of(overview: Overview) -> dict[str, Look]:
    """Return a look for every name: the plain PEFT that most are held against has the colour of the text."""
    names, held = (
        overview.names,
        [base.name for one in overview.settings if (base := overview.baseline(one)) is not None],
    )
    plain = max(dict.fromkeys(held), key=held.count, default=None)
    others = [name for name in names if name != plain]
    looks = {name: Look(f"s{number % COLOURS}", number + 1) for number, name in enumerate(others)}
    return {name: Look("base") if name == plain else looks[name] for name in names}


def tasks_of(settings: Sequence[Setting]) -> list[str]:
    """Return the tasks in the order of their first appearance."""
    return list(dict.fromkeys(setting.task for setting in settings))


def shown_of(settings: Sequence[Setting]) -> list[Setting]:
    """Return the finished settings that have panels of their own: the first of each task."""
    shown: list[Setting] = []
    for task in tasks_of(settings):
        shown += [setting for setting in settings if setting.task == task and setting.records][:MOST]
    return shown
