"""From a task to its splits: found, read, checked, sampled and fingerprinted."""

import difflib
import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np

from light_peft.config import DataConfig, TaskConfig
from light_peft.data.demo import write_demo
from light_peft.data.files import read_file
from light_peft.data.hub import read_hub
from light_peft.data.labels import parse_labels
from light_peft.data.locate import TRAIN, Place, given_places, hub_splits, locate, validation_files, wanted_splits
from light_peft.data.mrpc import split_release
from light_peft.data.table import Table

logger = logging.getLogger(__name__)

LABEL = "label"
SOURCES = ("auto", "hub", "local")
GENERATORS: dict[str, Callable[[Path], None]] = {"demo": write_demo}
"""`official.generator` -> what writes its files into a folder."""


@dataclass(frozen=True)
class Splits:
    """The examples of a run."""

    train: datasets.Dataset | None
    """Columns `task.text` and `label` (class number, or figure of a regression); None if it was not asked for."""
    validation: dict[str, datasets.Dataset]
    """Name -> examples with the same columns, in the task's order; the first one gives the score."""
    sources: dict[str, str]
    """Split -> file, or data set on the hub with its commit."""
    digests: dict[str, str]
    """Split -> sha256 of its examples, after sampling."""


def load_splits(task: TaskConfig, data: DataConfig, *, seed: int, work_dir: Path, train: bool = True) -> Splits:
    """Return the splits of the task; `seed` draws the training sample, generated tasks leave files in `work_dir`.

    Raises:
        ValueError: a split cannot be found or read, is empty, lacks a column, or has a label that is not the task's.
    """
    _check(task, data)
    tables = _read_tables(task, data, work_dir=work_dir, train=train)
    for split, table in tables.items():
        if not len(table):
            raise ValueError(f"task {task.name}: the {split} split is empty ({table.source})")
    sampled = {
        split: _sample(table, data.max_train_samples, seed)
        if split == TRAIN
        else table.take(range(len(table))[: data.max_eval_samples])
        for split, table in tables.items()
    }
    splits = {split: to_dataset(table, task) for split, table in sampled.items()}
    for split, dataset in splits.items():
        logger.info("%s: %d examples of %d from %s", split, len(dataset), len(tables[split]), tables[split].source)
    return Splits(
        train=splits.get(TRAIN),
        validation={split: dataset for split, dataset in splits.items() if split != TRAIN},
        sources={split: table.source for split, table in tables.items()},
        digests={split: digest(dataset) for split, dataset in splits.items()},
    )


def to_dataset(table: Table, task: TaskConfig) -> datasets.Dataset:
    """Return the table with checked text and labels, columns `task.text` and `label`.

    Raises:
        ValueError: a text is not a string, or a label is not the task's.
    """
    for column in task.text:
        for index, text in enumerate(table.columns[column]):
            if not isinstance(text, str):
                raise ValueError(f"{table.where(index)}: {column} is {text!r}, must be a string")
    labels = parse_labels(table, task)
    features = {column: datasets.Value("string") for column in task.text}
    features[LABEL] = (
        datasets.Value("float64") if task.formulation == "regression" else datasets.ClassLabel(names=task.labels)
    )
    columns = {column: table.columns[column] for column in task.text} | {LABEL: labels}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def digest(dataset: datasets.Dataset) -> str:
    """Return the sha256 (hex) of the examples in their order: one JSON list of the columns' values per line."""
    sha = hashlib.sha256()
    for row in zip(*(dataset[column][:] for column in dataset.column_names), strict=True):
        sha.update(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    return sha.hexdigest()


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


def _read_tables(task: TaskConfig, data: DataConfig, *, work_dir: Path, train: bool) -> dict[str, Table]:
    """Return the raw splits, train first; the first validation split is among them."""
    given = given_places(task, data)
    wanted = wanted_splits(task, given, train=train)
    open_splits = [split for split in wanted if split not in given]
    if open_splits and _from_hub(task, data):
        tables = {split: _read_place(place, split, task) for split, place in given.items() if split in wanted}
        names = hub_splits(task)
        tables |= read_hub(task, {split: names[split] for split in open_splits})
        return {split: tables[split] for split in wanted if _is_there(task, tables, wanted, split)}
    places = locate(task, data, _root(task, data, work_dir) if open_splits else None, train=train)
    return {split: _read_place(place, split, task) for split, place in places.items()}


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


def _read_place(place: Place, split: str, task: TaskConfig) -> Table:
    if place.release:
        train, dev = split_release(place.files[0], task)
        return train if split == TRAIN else dev
    tables = [read_file(path, [*task.text, task.label], task.official) for path in place.files]
    return Table.join(tables)


def _sample(table: Table, limit: int | None, seed: int) -> Table:
    """Return a random sample in the table's order; a smaller limit takes a part of what a larger one takes."""
    if limit is None or limit >= len(table):
        return table
    return table.take(sorted(np.random.default_rng(seed).permutation(len(table))[:limit].tolist()))
