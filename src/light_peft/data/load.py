"""From a task to the raw rows of its splits: found and read."""

import difflib
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from light_peft.config import DataConfig, TaskConfig
from light_peft.data.demo import write_demo
from light_peft.data.files import read_file
from light_peft.data.formats import format_of
from light_peft.data.hub import read_hub
from light_peft.data.locate import (
    TRAIN,
    Place,
    given_places,
    locate,
    required_splits,
    test_splits,
    validation_files,
    wanted_splits,
)
from light_peft.data.mrpc import read_release
from light_peft.data.table import Table

logger = logging.getLogger(__name__)

SOURCES = ("auto", "hub", "local")
GENERATORS: dict[str, Callable[[Path], None]] = {"demo": write_demo}
"""`official.generator` -> what writes its files into a folder."""

Columns = Callable[..., list[str]]
"""The columns that a split must have, called with `labelled=`."""


def read_tables(
    task: TaskConfig, data: DataConfig, columns: Columns, *, work_dir: Path, train: bool, test: bool = False
) -> dict[str, Table]:
    """Return the raw splits: train, validation, test; the first validation split is among them.

    Test splits come from where the others come from; if those are all given by `data.files`, from `data.dir`.

    Raises:
        ValueError: a split cannot be found or read, or lacks a column.
    """
    _check(task, data)
    given = given_places(task, data)
    wanted = wanted_splits(task, given, train=train, test=test)
    needed = {split: columns(labelled=split not in test_splits(task)) for split in wanted}
    open_splits = [split for split in wanted if split not in given]
    required = required_splits(task, wanted, given)
    if open_splits and _from_hub(task, data, required):
        tables = {split: _read_place(place, split, task, needed) for split, place in given.items() if split in wanted}
        tables |= read_hub(task, {split: needed[split] for split in open_splits})
        return {split: tables[split] for split in wanted if _is_there(task, tables, required, split)}
    places = locate(task, data, _root(task, data, work_dir) if open_splits else None, train=train, test=test)
    return {split: _read_place(place, split, task, needed) for split, place in places.items()}


def _check(task: TaskConfig, data: DataConfig) -> None:
    if data.source not in SOURCES:
        near = difflib.get_close_matches(data.source, SOURCES, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"data.source is {data.source!r}, must be one of: {', '.join(SOURCES)}{hint}")
    format_of(task.format)
    _check_names(task, "validation", [*task.hub.validation], [*validation_files(task)])
    _check_names(task, "test", [*task.hub.test], [*task.official.test])
    both = [name for name in test_splits(task) if name in (TRAIN, *validation_files(task))]
    if both:
        raise ValueError(f"task {task.name}: {', '.join(both)} names a test split and another; rename it")
    for key, limit in (("max_train_samples", data.max_train_samples), ("max_eval_samples", data.max_eval_samples)):
        if limit is not None and limit < 1:
            raise ValueError(f"data.{key} is {limit}, must be at least 1, or null for all")


def _check_names(task: TaskConfig, kind: str, hub: list[str], official: list[str]) -> None:
    if hub and official and hub != official and task.hub.path and task.official.folder:
        raise ValueError(
            f"task {task.name}: hub.{kind} names {', '.join(hub)}, "
            f"official.{kind} names {', '.join(official)}; they must be the same"
        )


def _from_hub(task: TaskConfig, data: DataConfig, required: list[str]) -> bool:
    """Return whether the splits that no file replaces come from the hub; it is not asked for test splits alone."""
    if data.source == "auto":
        return data.dir is None and task.official.generator is None and bool(required)
    return data.source == "hub"


def _is_there(task: TaskConfig, tables: dict[str, Table], required: list[str], split: str) -> bool:
    if split in tables:
        return True
    if split in required:
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


def _read_place(place: Place, split: str, task: TaskConfig, needed: Mapping[str, list[str]]) -> Table:
    if place.release:
        return read_release(place.files[0], split, needed[split], task)
    if split in test_splits(task):  # a line that is left out would give the predictions behind it a wrong number
        task = replace(task, official=replace(task.official, malformed="error"))
    return Table.join([read_file(path, needed[split], task) for path in place.files])
