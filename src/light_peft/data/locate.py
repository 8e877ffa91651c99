"""Where the files of a task lie on this machine, and which of them a run reads."""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from light_peft.config import DataConfig, TaskConfig
from light_peft.data.mrpc import RELEASE_FILE, TEST_FILE
from light_peft.data.table import listed

logger = logging.getLogger(__name__)

TRAIN, TEST = "train", "test"
SHARDS = re.compile(r"-of-(\d+)\.parquet$")
UNNAMED = ("data", "default", "plain_text", "")
"""Folders of a repository that may hold its one configuration."""
PATTERNS = ("{}-*.parquet", "{}/*.parquet", "{}.parquet", "*_{}.parquet")
"""Names that repositories give to the files of a split; the second is that of the hub's own conversions."""


@dataclass(frozen=True)
class Place:
    """The files of one split."""

    looked_at: str
    """Path, or pattern, where they were looked for."""
    files: tuple[Path, ...]
    """What is there, in order; empty if the split is missing."""
    release: bool = False
    """Whether the file is one of MRPC's release, of which the split is a part or the whole."""


def validation_files(task: TaskConfig) -> dict[str, str]:
    """Return name -> file of the official release for each validation split, the one that gives the score first."""
    return task.official.validation or dict.fromkeys(task.hub.validation or ["validation"], "dev.tsv")


def split_files(task: TaskConfig) -> dict[str, str]:
    """Return name -> file of the official release for train, each validation and each test split."""
    return {TRAIN: task.official.train} | validation_files(task) | task.official.test


def hub_splits(task: TaskConfig) -> dict[str, str]:
    """Return name -> the hub's name for train, each validation and each test split."""
    validation = task.hub.validation or {name: name for name in validation_files(task)}
    return {TRAIN: task.hub.train} | validation | task.hub.test


def hub_address(task: TaskConfig, name: str) -> tuple[str | None, str]:
    """Return configuration and split that the hub's name of a split means: `SPLIT` or `CONFIGURATION:SPLIT`."""
    configuration, _, split = name.rpartition(":")
    return configuration or task.hub.name, split


def test_splits(task: TaskConfig) -> list[str]:
    """Return the names of the splits without labels; a task that names none has room for a file of its user's."""
    return _named_tests(task) or [name for name in [TEST] if name not in validation_files(task)]


def _named_tests(task: TaskConfig) -> list[str]:
    return list(dict.fromkeys([*task.official.test, *task.hub.test]))


def wanted_splits(task: TaskConfig, given: Mapping[str, Place], *, train: bool, test: bool = False) -> list[str]:
    """Return the splits to read: train, validation, test.

    A validation file of `data.files` is then the only validation split.
    """
    names = list(validation_files(task))
    validation = [name for name in names if name in given] or names
    tests = [name for name in test_splits(task) if name in given or name in _named_tests(task)]
    return [*([TRAIN] if train else []), *validation, *(tests if test else [])]


def given_places(task: TaskConfig, data: DataConfig) -> dict[str, Place]:
    """Return the splits that `data.files` replaces; a file goes by the name of the first validation or test split.

    Raises:
        ValueError: a file does not exist.
    """
    first, test = next(iter(validation_files(task))), next(iter(test_splits(task)), TEST)
    places = {}
    for key, split in (("train", TRAIN), ("validation", first), ("test", test)):
        name = getattr(data.files, key)
        if name is not None:
            if not _is_file(name):
                raise ValueError(f"data.files.{key} is {listed([name])}, which is not a file")
            places[split] = Place(name, (Path(name),))
    return places


def _is_file(name: str) -> bool:
    """Return whether there is a file of this name; the system refuses one that is too long."""
    try:
        return Path(name).is_file()
    except OSError:
        return False


def locate(
    task: TaskConfig, data: DataConfig, root: Path | None, *, train: bool, test: bool = False
) -> dict[str, Place]:
    """Return the place of each split: train, then validation and test splits in the task's order; all are there.

    A secondary validation split or a test split that is missing is left out, with a warning. `data.files.*` go
    before `root`.

    Raises:
        ValueError: a split is missing, is there in several layouts, or lacks some of its shards, or a file of
            `data.files` does not exist.
    """
    given = given_places(task, data)
    wanted = wanted_splits(task, given, train=train, test=test)
    open_splits = [split for split in wanted if split not in given]
    found = _choose_layout(task, root, open_splits, required_splits(task, wanted, given)) if open_splits else {}
    places = {split: given.get(split) or found[split] for split in wanted}
    for split in [split for split in wanted if not places[split].files]:
        logger.warning("%s: no %s split at %s, it is left out", task.name, split, places[split].looked_at)
        del places[split]
    return places


def required_splits(task: TaskConfig, wanted: list[str], given: Mapping[str, Place]) -> list[str]:
    """Return the splits that no file of `data.files` replaces and that a run cannot do without."""
    first = next(name for name in wanted if name != TRAIN)
    return [split for split in wanted if split in (TRAIN, first) and split not in given]


def _choose_layout(task: TaskConfig, root: Path | None, splits: list[str], required: list[str]) -> Mapping[str, Place]:
    """Return the places of `splits` in the one layout that holds the `required` ones, or some if none is required."""
    if root is None:
        nowhere = "nowhere: data.dir is not set"
        if required:
            raise ValueError(_missing(task, required, [nowhere]))
        return dict.fromkeys(splits, Place(nowhere, ()))
    layouts = {name: find(task, root, splits) for name, find in LAYOUTS.items()}
    if not required:
        return next((held for held in layouts.values() if any(place.files for place in held.values())), layouts[HUB])
    return layouts[_holder(task, layouts, required)]


def _holder(task: TaskConfig, layouts: Mapping[str, Mapping[str, Place]], required: list[str]) -> str:
    """Return the name of the one layout that holds all of the `required` splits."""
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
    return holding[0]


def _missing(task: TaskConfig, splits: list[str], looked_at: list[str]) -> str:
    keys = " ".join(f"data.files.{TRAIN if split == TRAIN else 'validation'}=..." for split in splits)
    return (
        f"task {task.name}: no {' and no '.join(splits)} split, looked at {'; '.join(looked_at)}; "
        f"set data.dir to the folder above {task.official.folder or task.hub.path}, or give {keys}"
    )


def _official(task: TaskConfig, root: Path, splits: list[str]) -> dict[str, Place]:
    """The official release: one file per split, or MRPC's release files, of which one holds train and dev."""
    folder = root / task.official.folder
    names = split_files(task)
    paths = {split: folder / names[split] for split in splits if split in names}
    release = folder / RELEASE_FILE
    if release.is_file() and not any(path.is_file() for path in paths.values()):
        whole, blind = _place(release, release=True), _place(folder / TEST_FILE, release=True)
        return {split: blind if split in task.official.test else whole for split in splits}
    unknown = Place(f"{folder} (official.test names no file)", ())
    return {split: _place(paths[split]) if split in paths else unknown for split in splits}


def _place(path: Path, *, release: bool = False) -> Place:
    return Place(str(path), tuple(filter(Path.is_file, [path])), release)


def _hub_layout(task: TaskConfig, root: Path, splits: list[str]) -> dict[str, Place]:
    """A clone of the hub's repository: parquet files per split, in the folder of the configuration if there is one."""
    if not task.hub.path:
        return dict.fromkeys(splits, Place("task.hub.path is empty", ()))
    names = hub_splits(task)
    places = {}
    for split in splits:
        configuration, name = hub_address(task, names.get(split, split))
        folders = [root / task.hub.path / folder for folder in ([configuration] if configuration else UNNAMED)]
        found = (folder.glob(each.format(name)) for folder in folders for each in PATTERNS)
        shards = (tuple(sorted(filter(Path.is_file, paths))) for paths in found)  # to open a pipe would wait for ever
        files = next(filter(None, shards), ())
        _check_shards(files)
        places[split] = Place(str(folders[0] / PATTERNS[0].format(name)), files)
    return places


def _check_shards(files: tuple[Path, ...]) -> None:
    """Raise ValueError if the names tell of another number of shards than there are."""
    for path in files:
        told = SHARDS.search(path.name)
        if told and int(told[1]) != len(files):
            raise ValueError(f"{path} is one of {int(told[1])} shards, but {len(files)} are in its folder")


OFFICIAL, HUB = "official release", "hub layout"
LAYOUTS: dict[str, Callable[[TaskConfig, Path, list[str]], dict[str, Place]]] = {OFFICIAL: _official, HUB: _hub_layout}
"""Name -> where it keeps splits below `data.dir`."""
