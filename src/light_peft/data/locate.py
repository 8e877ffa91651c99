"""Where the files of a task lie on this machine, and which of them a run reads."""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from light_peft.config import DataConfig, TaskConfig
from light_peft.data.mrpc import RELEASE_FILE

logger = logging.getLogger(__name__)

TRAIN = "train"
SHARDS = re.compile(r"-of-(\d+)\.parquet$")


@dataclass(frozen=True)
class Place:
    """The files of one split."""

    looked_at: str
    """Path, or pattern, where they were looked for."""
    files: tuple[Path, ...]
    """What is there, in order; empty if the split is missing."""
    release: bool = False
    """Whether the file is a release of which the split is a part (MRPC)."""


def validation_files(task: TaskConfig) -> dict[str, str]:
    """Return name -> file of the official release for each validation split, the one that gives the score first."""
    return task.official.validation or dict.fromkeys(task.hub.validation or ["validation"], "dev.tsv")


def hub_splits(task: TaskConfig) -> dict[str, str]:
    """Return name -> the hub's name for train and each validation split."""
    validation = task.hub.validation or {name: name for name in validation_files(task)}
    return {TRAIN: task.hub.train} | validation


def wanted_splits(task: TaskConfig, given: Mapping[str, Place], *, train: bool) -> list[str]:
    """Return the splits to read, train first; a validation file of `data.files` is then the only validation split."""
    names = list(validation_files(task))
    validation = [name for name in names if name in given] or names
    return [*([TRAIN] if train else []), *validation]


def given_places(task: TaskConfig, data: DataConfig) -> dict[str, Place]:
    """Return the splits that `data.files` replaces; a validation file goes by the name of the first validation split.

    Raises:
        ValueError: a file does not exist.
    """
    first = next(iter(validation_files(task)))
    places = {}
    for key, split, name in (("train", TRAIN, data.files.train), ("validation", first, data.files.validation)):
        if name is not None:
            if not Path(name).is_file():
                raise ValueError(f"data.files.{key} is {name}, which is not a file")
            places[split] = Place(name, (Path(name),))
    return places


def locate(task: TaskConfig, data: DataConfig, root: Path | None, *, train: bool) -> dict[str, Place]:
    """Return the place of each split, train first, validation splits in the task's order; all are there.

    A secondary validation split that is missing is left out, with a warning. `data.files.*` go before `root`.

    Raises:
        ValueError: a split is missing, is there in several layouts, or lacks some of its shards, or a file of
            `data.files` does not exist.
    """
    given = given_places(task, data)
    wanted = wanted_splits(task, given, train=train)
    first = next(name for name in wanted if name != TRAIN)
    open_splits = [split for split in wanted if split not in given]
    required = [split for split in open_splits if split in (TRAIN, first)]
    found = _choose_layout(task, root, open_splits, required) if open_splits else {}
    places = {split: given.get(split) or found[split] for split in wanted}
    for split in [split for split in wanted if not places[split].files]:
        logger.warning("%s: no %s split at %s, it is left out", task.name, split, places[split].looked_at)
        del places[split]
    return places


def _choose_layout(task: TaskConfig, root: Path | None, splits: list[str], required: list[str]) -> Mapping[str, Place]:
    """Return the places of `splits` in the one layout that holds the `required` ones."""
    if root is None:
        raise ValueError(_missing(task, required, ["nowhere: data.dir is not set"]))
    layouts = {name: find(task, root, splits) for name, find in LAYOUTS.items()}
    holders = {name: [split for split in required if places[split].files] for name, places in layouts.items()}
    looked_at = [f"{places[split].looked_at} ({name})" for name, places in layouts.items() for split in required]
    if not any(holders.values()):
        raise ValueError(_missing(task, required, looked_at))
    holding = [name for name, held in holders.items() if held]
    if len(holding) > 1:
        there = [
            f"{split}: {', '.join(map(str, layouts[name][split].files))} ({name})"
            for name in holding
            for split in holders[name]
        ]
        raise ValueError(
            f"task {task.name} is in several layouts, which may not be mixed: {'; '.join(there)}; looked at "
            f"{'; '.join(looked_at)}; choose by data.files.train=... data.files.validation=..., or remove one"
        )
    lacking = [split for split in required if split not in holders[holding[0]]]
    if lacking:
        raise ValueError(_missing(task, lacking, looked_at))
    return layouts[holding[0]]


def _missing(task: TaskConfig, splits: list[str], looked_at: list[str]) -> str:
    keys = " ".join(f"data.files.{TRAIN if split == TRAIN else 'validation'}=..." for split in splits)
    return (
        f"task {task.name}: no {' and no '.join(splits)} split, looked at {'; '.join(looked_at)}; "
        f"set data.dir to the folder above {task.official.folder or task.hub.path}, or give {keys}"
    )


def _official(task: TaskConfig, root: Path, splits: list[str]) -> dict[str, Place]:
    """The official release: one file per split, or MRPC's release file that holds both."""
    folder = root / task.official.folder
    names = {TRAIN: task.official.train} | validation_files(task)
    paths = {split: folder / name for split, name in names.items()}
    release = folder / RELEASE_FILE
    if release.is_file() and not any(path.is_file() for path in paths.values()):
        return {split: Place(str(release), (release,), release=True) for split in splits}
    return {split: Place(str(paths[split]), tuple(filter(Path.is_file, [paths[split]]))) for split in splits}


def _hub_layout(task: TaskConfig, root: Path, splits: list[str]) -> dict[str, Place]:
    """A clone of the hub's repository: parquet shards per split."""
    folder = root / task.hub.path / (task.hub.name or "data")
    places = {}
    for split in splits:
        name = hub_splits(task).get(split, split)
        files = tuple(sorted(folder.glob(f"{name}-*.parquet"))) if task.hub.path else ()
        _check_shards(files)
        places[split] = Place(str(folder / f"{name}-*.parquet"), files)
    return places


def _check_shards(files: tuple[Path, ...]) -> None:
    """Raise ValueError if the names tell of another number of shards than there are."""
    for path in files:
        told = SHARDS.search(path.name)
        if told and int(told[1]) != len(files):
            raise ValueError(f"{path} is one of {int(told[1])} shards, but {len(files)} are in its folder")


LAYOUTS: dict[str, Callable[[TaskConfig, Path, list[str]], dict[str, Place]]] = {
    "official release": _official,
    "hub layout": _hub_layout,
}
"""Name -> where it keeps splits below `data.dir`."""
