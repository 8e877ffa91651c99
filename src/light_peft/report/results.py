"""From the cells of a sweep to settings over seeds, and what each has over plain PEFT."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from light_peft.artifacts import RunRecord
from light_peft.report.figures import FIGURES, Figure
from light_peft.report.settings import SEED, differing_keys, name_of, telling_keys, value_of
from light_peft.report.statistics import Comparison, compare_pairs
from light_peft.sweeps.cells import BROKEN, FINISHED, Cell, key_of

__all__ = ["FIGURES", "Comparison", "Figure", "Setting", "baseline_of", "compare", "compare_all", "settings_of"]

PLAIN, FULL, LORA = "none", "full", "lora"
TASK = "task"
DEFAULT = "as configured"
"""What a setting is called of which nothing is known, not even a word."""
Place = tuple[str, str]
"""Task and name of a setting."""


@dataclass(frozen=True)
class Setting:
    """The runs of one task that differ in nothing but the seed."""

    task: str
    name: str
    cells: tuple[Cell, ...]

    @cached_property
    def finished(self) -> tuple[Cell, ...]:
        """The finished cells, one for each seed: of two the one that was named last."""
        return tuple({_record(cell).seed: cell for cell in self.cells if cell.status == FINISHED}.values())

    @property
    def records(self) -> tuple[RunRecord, ...]:
        """The records of `finished`."""
        return tuple(_record(cell) for cell in self.finished)

    @property
    def repeated(self) -> tuple[Cell, ...]:
        """The finished cells that do not count, since another one of the same seed does."""
        counting = set(map(id, self.finished))
        return tuple(cell for cell in self.cells if cell.status == FINISHED and id(cell) not in counting)

    @property
    def failed(self) -> tuple[Cell, ...]:
        """The cells that have failed, and whose seed has not finished elsewhere."""
        return tuple(cell for cell in self._open if cell.status == BROKEN)

    @property
    def missing(self) -> tuple[Cell, ...]:
        """The cells that are neither finished nor failed: not begun, interrupted, or at work."""
        return tuple(cell for cell in self._open if cell.status != BROKEN)

    @property
    def config(self) -> dict[str, Any]:
        """The configuration of one of the runs; empty where none has begun."""
        return next((cell.record.config for cell in self.cells if cell.record and cell.record.config), {})

    @property
    def peft(self) -> str:
        """The PEFT kind; empty where none has begun."""
        return next((cell.record.peft for cell in self.cells if cell.record is not None), "")

    @property
    def metric(self) -> str:
        """The metric that the score is of; `score` where no run has finished."""
        return next((record.primary_metric for record in self.records if record.primary_metric), "score")

    @property
    def is_baseline(self) -> bool:
        """Whether this is plain PEFT: nothing is cut, and not the whole model is trained."""
        return self.is_plain and self.peft != FULL

    @property
    def is_plain(self) -> bool:
        """Whether nothing is cut."""
        return self.config.get("prune", {}).get("method") == PLAIN

    def values(self, figure: Figure) -> dict[int, float]:
        """Return a figure by seed, of the finished runs that have it."""
        found = {record.seed: figure.value(record) for record in self.records}
        return {seed: value for seed, value in found.items() if value is not None}

    @property
    def _open(self) -> tuple[Cell, ...]:
        """The cells that have not finished and are not made up for by others."""
        done = {record.seed for record in self.records}
        return tuple(cell for cell in self.cells if cell.status != FINISHED and seed_of(cell) not in done)


def settings_of(cells: Sequence[Cell]) -> list[Setting]:
    """Return the cells grouped by task and setting, each in the order of its first appearance.

    A setting is named by `label`, or by its PEFT kind and what is cut; where runs of one task and name differ in more
    than the seed, by what differs, too. A cell without a record is of the setting of the same words but for the seed.
    """
    places = _places_of_records(cells)
    groups: dict[str, dict[str, list[Cell]]] = {}
    for cell in cells:
        task, name = places.get(id(cell)) or _place_by_words(cell, cells, places)
        groups.setdefault(task, {}).setdefault(name, []).append(cell)
    return [Setting(task, name, tuple(group)) for task, named in groups.items() for name, group in named.items()]


def baseline_of(setting: Setting, settings: Sequence[Setting]) -> Setting | None:
    """Return the plain PEFT of the same task and model that a setting is held against; None where there is no other.

    It is that of the same PEFT kind, else LoRA, else any; of several the one whose settings differ least, then the
    first. Plain PEFT itself is held against the first plain LoRA, if it is not that. What is cut from a model that is
    trained whole is held against the same without a cut. What has not begun is taken for what its name stands for on
    other tasks, so that no other baseline steps in for one that is missing.
    """
    if not setting.config:
        return None
    whole = setting.peft == FULL and not setting.is_plain
    begun = {one.name: one for one in reversed(settings) if one.config}
    known = [(one, one if one.config else begun.get(one.name, one)) for one in settings if one.task == setting.task]
    plain = [(one, like) for one, like in known if like.is_baseline or (whole and like.is_plain)]
    plain = [(one, like) for one, like in plain if _model(like) == _model(setting)]

    if setting.is_baseline:
        first = next((one for one, like in plain if like.peft == LORA), setting)
        return first if first is not setting else None

    def distance(pair: tuple[Setting, Setting]) -> tuple[bool, bool, int]:
        like = pair[1]
        differing = [key for key in differing_keys([like.config, setting.config]) if not key.startswith("task.")]
        return like.peft != setting.peft, like.peft != LORA, len(differing)

    return min(plain, key=distance)[0] if plain else None


def compare(a: Setting, b: Setting, figure: Figure, ratio: bool = False) -> Comparison | None:
    """Return what `a` has over `b`, paired by seed: a - b, or with `ratio` a / b; None where no seed has both."""
    return compare_all([(a, b)], figure, ratio)


def compare_all(pairs: Iterable[tuple[Setting, Setting]], figure: Figure, ratio: bool = False) -> Comparison | None:
    """Return the same over the runs of several pairs of settings, one of each task, say: each seed of each counts."""
    left, right = [], []
    for a, b in pairs:
        of_a, of_b = a.values(figure), b.values(figure)
        shared = sorted(of_a.keys() & of_b.keys())
        left += [of_a[seed] for seed in shared]
        right += [of_b[seed] for seed in shared]
    if not left or (ratio and min(*left, *right) <= 0):
        return None
    return compare_pairs(left, right, ratio=ratio)


def seed_of(cell: Cell) -> int | None:
    """Return the seed of a cell; None where neither record nor words say."""
    if cell.record is not None:
        return cell.record.seed
    word = _word(cell, SEED)
    return int(word) if word is not None and word.lstrip("-").isdigit() else None


def _record(cell: Cell) -> RunRecord:
    assert cell.record is not None, f"{cell.key} has no record"
    return cell.record


def _model(setting: Setting) -> Any:
    return setting.config.get("model", {}).get("name")


def _places_of_records(cells: Iterable[Cell]) -> dict[int, Place]:
    """Return the place of every cell with a record, by the identity of the cell."""
    families: dict[Place, list[Cell]] = {}
    for cell in cells:
        if cell.record is not None:
            families.setdefault((cell.record.task, name_of(cell.record)), []).append(cell)
    telling: dict[str, dict[str, None]] = {}  # of a name the keys of all tasks, so that it is the same on each
    for (_, name), family in families.items():
        telling.setdefault(name, {}).update(dict.fromkeys(telling_keys([_record(cell).config for cell in family])))
    places = {}
    for (task, name), family in families.items():
        for cell in family:
            own = [f"{key}={value_of(_record(cell).config, key)}" for key in sorted(telling[name])]
            places[id(cell)] = (task, ", ".join([name, *own]))
    return places


def _place_by_words(cell: Cell, cells: Sequence[Cell], places: dict[int, Place]) -> Place:
    """Return the place of a cell without a record, from those with one.

    It is that of a cell of the same words but for the seed; else its name is that of the same words on another task;
    else its name is its words.
    """
    known = [one for one in cells if id(one) in places and one.words]
    for one in known:
        if _key_without(one, SEED) == _key_without(cell, SEED):
            return places[id(one)]
    word = _word(cell, TASK)
    task = next((places[id(one)][0] for one in known if _word(one, TASK) == word), word or "?")
    for one in known:
        if _key_without(one, SEED, TASK) == _key_without(cell, SEED, TASK):
            return task, places[id(one)][1]
    return task, " ".join(_without(cell, SEED, TASK)) or DEFAULT


def _without(cell: Cell, *keys: str) -> list[str]:
    return [word for word in cell.words if word.split("=", 1)[0] not in keys]


def _key_without(cell: Cell, *keys: str) -> str:
    return key_of(_without(cell, *keys))


def _word(cell: Cell, key: str) -> str | None:
    """Return the value of a word of the command line; None where it was not given."""
    found = [word.split("=", 1)[1] for word in cell.words if word.split("=", 1)[0] == key and "=" in word]
    return found[-1] if found else None
