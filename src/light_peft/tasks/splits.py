"""From a task to its splits: read, checked, sampled, held out, fingerprinted."""

import hashlib
import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from light_peft.config import DataConfig, TaskConfig
from light_peft.data.load import read_tables
from light_peft.data.locate import TRAIN, test_splits
from light_peft.data.table import Table
from light_peft.tasks.duplicates import duplicates
from light_peft.tasks.formulation import IDX, Formulation
from light_peft.tasks.registry import formulation_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Splits:
    """The examples of a run, as the task's formulation has them."""

    train: datasets.Dataset | None
    """What is trained on; None if it was not asked for."""
    validation: dict[str, datasets.Dataset]
    """Name -> examples, in the task's order; the first one gives the score."""
    sources: dict[str, str]
    """Split -> file, or data set on the hub with its commit."""
    digests: dict[str, str]
    """Split -> sha256 of its examples, after sampling."""
    held_out: datasets.Dataset | None = None
    """Training examples that are not trained on, where the formulation calibrates itself on some."""
    test: dict[str, datasets.Dataset] = field(default_factory=dict)
    """Name -> examples without labels."""
    duplicates: dict[str, int] = field(default_factory=dict)
    """Validation split -> its examples whose texts are those of a training example."""

    def summary(self) -> dict[str, Any]:
        """Return what the record of a run says of its data."""
        rows = {"train": len(self.train or ())} | {name: len(split) for name, split in self.validation.items()}
        found = {"rows": rows, "sources": self.sources, "digests": self.digests, "duplicates": self.duplicates}
        return found if self.held_out is None else found | {"held_out": len(self.held_out)}


def load_splits(
    task: TaskConfig, data: DataConfig, *, seed: int, work_dir: Path, train: bool = True, test: bool = False
) -> Splits:
    """Return the splits of the task; `seed` draws the training sample, generated tasks leave files in `work_dir`.

    Raises:
        ValueError: a split cannot be found or read, is empty, lacks a column, or has a label that is not the task's.
    """
    formulation = formulation_of(task)
    tables = read_tables(task, data, formulation.columns, work_dir=work_dir, train=train, test=test)
    for split, table in tables.items():
        if not len(table):
            raise ValueError(f"task {task.name}: the {split} split is empty ({table.source})")
    sampled = {
        split: _sample(table, data.max_train_samples, seed)
        if split == TRAIN
        else table.take(range(len(table))[: data.max_eval_samples])
        for split, table in tables.items()
    }
    splits = {
        split: formulation.examples(table, labelled=split not in test_splits(task)) for split, table in sampled.items()
    }
    for split, dataset in splits.items():
        logger.info("%s: %d examples of %d from %s", split, len(dataset), len(tables[split]), tables[split].source)
    return _arranged(splits, tables, formulation, seed)


def _arranged(
    splits: dict[str, datasets.Dataset], tables: dict[str, Table], formulation: Formulation, seed: int
) -> Splits:
    tests = test_splits(formulation.task)
    train, held_out = _hold_out(splits.get(TRAIN), formulation, seed)
    validation = {split: dataset for split, dataset in splits.items() if split != TRAIN and split not in tests}
    return Splits(
        train=train,
        validation=validation,
        duplicates=_report_duplicates(train, validation, formulation) if train is not None else {},
        sources={split: table.source for split, table in tables.items()},
        digests={split: digest(dataset) for split, dataset in splits.items()},
        held_out=held_out,
        test={split: splits[split] for split in tests if split in splits},
    )


def _report_duplicates(
    train: datasets.Dataset, validation: dict[str, datasets.Dataset], formulation: Formulation
) -> dict[str, int]:
    """Return the number of duplicates in each validation split, with a warning where there are any."""
    found = {}
    for name, examples in validation.items():
        both = duplicates(train, examples, formulation.inputs())
        found[name] = both.num_rows
        if both.num_rows:
            share = f"{both.num_rows} of {len(examples)} examples of {name} ({both.num_rows / len(examples):.1%})"
            conflicting = f", {both.num_conflicting} of them with another label" if both.num_conflicting else ""
            logger.warning("%s are in train as well%s", share, conflicting)
    return found


def digest(dataset: datasets.Dataset) -> str:
    """Return the sha256 (hex) of the examples in their order: one JSON list of the columns' values per line."""
    sha = hashlib.sha256()
    for row in zip(*(dataset[column][:] for column in dataset.column_names if column != IDX), strict=True):
        sha.update(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    return sha.hexdigest()


def _hold_out(
    train: datasets.Dataset | None, formulation: Formulation, seed: int
) -> tuple[datasets.Dataset | None, datasets.Dataset | None]:
    """Return what is trained on, and what is held out of it, whole units of the formulation; in the split's order.

    Raises:
        ValueError: all examples are of one unit, so that none would be left to train on.
    """
    number = formulation.held_out(len(train)) if train is not None else 0
    if train is None or not number:
        return train, None
    unit = formulation.unit()
    units = np.unique(train[unit][:], return_inverse=True)[1] if unit else np.arange(len(train))
    if not units.any():
        raise ValueError(
            f"task {formulation.task.name}: all training examples have the same {unit}, none can be held out"
        )
    place = np.random.default_rng((seed, 1)).permutation(units.max() + 1)[units]  # the units in a random order
    last = np.sort(place)[number - 1]
    is_out = place <= min(last, units.max() - 1)
    return train.select(np.flatnonzero(~is_out)), train.select(np.flatnonzero(is_out))


def _sample(table: Table, limit: int | None, seed: int) -> Table:
    """Return a random sample in the table's order; a smaller limit takes a part of what a larger one takes."""
    if limit is None or limit >= len(table):
        return table
    return table.take(sorted(np.random.default_rng(seed).permutation(len(table))[:limit].tolist()))
