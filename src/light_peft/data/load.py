"""From a task to the raw rows of its splits: found and read."""

import difflib
import logging
from collections.abc import Callable
from pathlib import Path

from light_peft.config import DataConfig, TaskConfig
from light_peft.data.demo import write_demo
from light_peft.data.files import read_file
from light_peft.data.hub import read_hub
from light_peft.data.locate import TRAIN, Place, given_places, hub_splits, locate, validation_files, wanted_splits
from light_peft.data.mrpc import split_release
from light_peft.data.table import Table

logger = logging.getLogger(__name__)

SOURCES = ("auto", "hub", "local")
GENERATORS: dict[str, Callable[[Path], None]] = {"demo": write_demo}
"""`official.generator` -> what writes its files into a folder."""

Columns = Callable[..., list[str]]
"""The columns that a split must have, called with `labelled=`."""


def _check(task: TaskConfig, data: DataConfig) -> None:
    if data.source not in SOURCES:
        near = difflib.get_close_matches(data.source, SOURCES, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"data.source is {data.source!r}, must be one of: {', '.join(SOURCES)}{hint}")
    hub, official = [name for name in hub_splits(task) if name != TRAIN], list(validation_files(task))
    if hub != official and task.hub.path and task.official.folder:
        raise ValueError(
            f"task {task.name}: hub.validation names {', '.join(hub)}, "
            f"official.validation names {', '.join(official)}; they must be the same"
        )
    for key, limit in (("max_train_samples", data.max_train_samples), ("max_eval_samples", data.max_eval_samples)):
        if limit is not None and limit < 1:
            raise ValueError(f"data.{key} is {limit}, must be at least 1, or null for all")


def read_tables(
    task: TaskConfig, data: DataConfig, columns: Columns, *, work_dir: Path, train: bool, test: bool = False
) -> dict[str, Table]:
    """Return the raw splits, train first; the first validation split is among them.

    Raises:
        ValueError: a split cannot be found or read, or lacks a column.
    """
    _check(task, data)
    given = given_places(task, data)
    wanted = wanted_splits(task, given, train=train)
    open_splits = [split for split in wanted if split not in given]
    if open_splits and _from_hub(task, data):
        tables = {split: _read_place(place, split, task, columns) for split, place in given.items() if split in wanted}
        names = hub_splits(task)
        tables |= read_hub(task, {split: names[split] for split in open_splits}, columns(labelled=True))
        return {split: tables[split] for split in wanted if _is_there(task, tables, wanted, split)}
    places = locate(task, data, _root(task, data, work_dir) if open_splits else None, train=train)
    return {split: _read_place(place, split, task, columns) for split, place in places.items()}


def _from_hub(task: TaskConfig, data: DataConfig) -> bool:
    """Return whether the splits that no file replaces come from the hub."""
    if data.source == "auto":
        return data.dir is None and task.official.generator is None
    return data.source == "hub"


def _is_there(task: TaskConfig, tables: dict[str, Table], wanted: list[str], split: str) -> bool:
    if split in tables:
        return True
    validation = [name for name in wanted if name != TRAIN]
    if split == TRAIN or split == validation[0]:
        raise ValueError(f"task {task.name}: {task.hub.path} on the hub has no split for {split}")
    logger.warning("%s: %s on the hub has no split for %s, it is left out", task.name, task.hub.path, split)
    return False


def _root(task: TaskConfig, data: DataConfig, work_dir: Path) -> Path | None:
    """Return the folder that holds the task's files, written just now if a generator writes them."""
    name = task.official.generator
    if name is None:
        return Path(data.dir) if data.dir is not None else None
    if name not in GENERATORS:
        near = difflib.get_close_matches(name, GENERATORS, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"task.official.generator is {name!r}, must be one of: {', '.join(GENERATORS)}{hint}")
    if data.dir is not None:
        logger.warning("data.dir=%s has no effect, task %s is generated", data.dir, task.name)
    GENERATORS[name](work_dir / task.official.folder)
    return work_dir


def _read_place(place: Place, split: str, task: TaskConfig, columns: Columns) -> Table:
    if place.release:
        train, dev = split_release(place.files[0], task)
        return train if split == TRAIN else dev
    tables = [read_file(path, columns(labelled=True), task.official) for path in place.files]
    return Table.join(tables)
