"""All settings of a sweep beside their baselines, and what its tables say of cells without a result."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property

from light_peft.report.figures import FIGURES, Figure
from light_peft.report.results import Setting, baseline_of, compare_all, seed_of, settings_of
from light_peft.report.statistics import Comparison, geometric_mean, spread
from light_peft.sweeps.cells import BROKEN, Cell

NOTHING = "-"
"""What stands where there is no figure."""
ERROR_LENGTH = 160
"""Characters of an error that a footnote gives."""


class Overview:
    """The settings of a sweep, each beside the plain PEFT it is held against.

    Attributes:
        cells: The cells that the settings are made of.
        settings: By task, then in the order of their first appearance.
        tasks: Names of the tasks.
        names: Names of the settings, whatever the task.
    """

    def __init__(self, cells: Sequence[Cell]) -> None:
        """Group the cells."""
        self.cells = cells
        self.settings = settings_of(cells)
        self.tasks = tuple(dict.fromkeys(setting.task for setting in self.settings))
        self.names = tuple(dict.fromkeys(setting.name for setting in self.settings))
        self._by_place = {(setting.task, setting.name): setting for setting in self.settings}
        self._baselines = {(one.task, one.name): baseline_of(one, self.settings) for one in self.settings}
        failed = [cell for setting in self.settings for cell in setting.failed]
        self._marks = {id(cell): number for number, cell in enumerate(failed, start=1)}

    def setting(self, task: str, name: str) -> Setting | None:
        """Return a setting; None where it was not asked for on this task."""
        return self._by_place.get((task, name))

    def row(self, name: str) -> list[Setting]:
        """Return the settings of one name, one for each task that has it."""
        return [setting for task in self.tasks if (setting := self.setting(task, name)) is not None]

    def baseline(self, setting: Setting) -> Setting | None:
        """Return the plain PEFT that a setting is held against."""
        return self._baselines[setting.task, setting.name]

    def metric(self, task: str) -> str:
        """Return the metrics of a task's scores."""
        found = dict.fromkeys(one.metric for one in self.settings if one.task == task and one.records)
        return ", ".join(found) or "score"

    def over_baselines(self, settings: Iterable[Setting], figure: Figure, ratio: bool = False) -> Comparison | None:
        """Return what settings of different tasks have over their baselines, each seed of each task a pair."""
        pairs = [(one, base) for one in settings if (base := self.baseline(one)) is not None]
        return compare_all(pairs, figure, ratio)

    def mean_ratio(self, settings: Sequence[Setting], figure: Figure) -> tuple[float, int] | None:
        """Return the geometric mean over the tasks of a figure's ratio to the baseline, and the number of tasks."""
        found = [self.over_baselines([setting], figure, ratio=True) for setting in settings]
        ratios = [one.mean for one in found if one is not None]
        return (geometric_mean(ratios), len(ratios)) if ratios else None

    def scores(self, setting: Setting) -> str:
        """Return mean ± standard deviation of the scores, and how many of the seeds they are of if not all."""
        values = list(setting.values(FIGURES["score"]).values())
        shown, state = spread(values, 1) if values else "", self.state(setting)
        return f"{shown} ({state})" if shown and state else shown or state or NOTHING

    def state(self, setting: Setting) -> str:
        """Return what became of the cells that have no result, with the marks of their footnotes; empty without any."""
        without = (*setting.failed, *setting.missing)
        if not without:
            return ""
        there = len(setting.records)
        said = [f"{there} of {there + len(without)} seeds"] if there else []
        for status, count in Counter(cell.status for cell in without).items():
            marks = "".join(f" [{self._marks[id(cell)]}]" for cell in without if cell.status == status == BROKEN)
            said.append(f"{status}{marks}" if not there and count == len(without) == 1 else f"{count} {status}{marks}")
        return "; ".join(said)

    @cached_property
    def footnotes(self) -> tuple[tuple[str, Cell], ...]:
        """What the marks stand for: of each failed cell what it was and its error."""
        failed = [(setting, cell) for setting in self.settings for cell in setting.failed]
        notes = []
        for setting, cell in failed:
            seed = seed_of(cell)
            who = f"{setting.task}, {setting.name}" + (f", seed {seed}" if seed is not None else "")
            error = cell.error or "no message"
            error = error if len(error) <= ERROR_LENGTH else f"{error[:ERROR_LENGTH]}…"
            notes.append((f"[{self._marks[id(cell)]}] {who} failed: {error}", cell))
        return tuple(notes)

    @property
    def repeated(self) -> tuple[str, ...]:
        """What is said of seeds of which more than one run has finished: which of them counts."""
        return tuple(
            f"{setting.task}, {setting.name}, seed {seed_of(cell)}: run more than once; {counting.folder} counts, "
            f"{cell.folder} does not."
            for setting in self.settings
            for cell in setting.repeated
            for counting in setting.finished
            if seed_of(counting) == seed_of(cell)
        )
