"""From features, which are encoded examples or parts of them, to batches."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import datasets
import numpy as np
import torch
from torch.utils.data import DataLoader
from transformers.trainer_pt_utils import get_length_grouped_indices

PADDINGS = ("dynamic", "max_length")
PAD_TO_MULTIPLE_OF = 8

Batch = dict[str, torch.Tensor]
Collate = Callable[[list[dict[str, Any]]], Batch]
NOTE = "_"
"""Columns of the features whose names begin so are not for the model, and in no batch."""
LENGTH, EXAMPLE = "_length", "_example"
"""Columns of the features: tokens of each, by which batches are made; number of the example it belongs to."""
ROW = "row"
"""Column of a batch that holds the number of each feature [B]; no model takes it."""
STAND_IN = "stand_in"
"""Column of a batch that is there so that its process has one, and counts for nothing."""


class TrainLoader:
    """Training batches, an epoch at each iteration; of each global batch the share of one process.

    An epoch's order is fixed by (seed, epoch) alone: the global random state and the number of processes do not
    matter. An iteration that is left early, or whose position is set, goes on where it was.

    Attributes:
        epoch: Epochs that are behind.
        taken: Global batches taken from the current epoch.
    """

    def __init__(
        self,
        features: datasets.Dataset,
        collate: Collate,
        *,
        batch_size: int,
        padding: str,
        seed: int,
        share: tuple[int, int] = (0, 1),
        parts: int = 1,
    ) -> None:
        """Cut `features` into global batches of `batch_size` examples for each process.

        Dynamic padding groups features of similar length, the longest batch first. The last batch may be smaller;
        where it is too small for a share for each process or for all parts, some get a stand-in that is marked by
        `STAND_IN`. Among the parts of a share those come first.

        Args:
            features: What is trained on.
            collate: Makes a batch of features.
            batch_size: Features per process and batch.
            padding: dynamic | max_length.
            seed: Of the order.
            share: Number of this process, and of all.
            parts: Batches that come of a process's share of a global one, one behind the other.
        """
        self.epoch = self.taken = 0
        self._lengths = features[LENGTH][:] if padding == "dynamic" else None
        self._features, self._collate = _without_notes(features), collate
        self._seed, self._share = seed, share
        self._size = batch_size * share[1]
        self._parts = parts

    def __len__(self) -> int:
        """Return the number of global batches in an epoch."""
        return math.ceil(len(self._features) / self._size)

    def __iter__(self) -> Iterator[Batch]:
        """Go on with the current epoch, or begin the next one."""
        order = self._order()
        while self.taken < len(self):
            first = self.taken * self._size
            self.taken += 1
            index, count = self._share
            own = order[first : first + self._size][index::count]
            parts = np.array_split(np.array(own, dtype=int), self._parts)
            for part in sorted(parts, key=lambda part: len(part) > 0):
                yield self._batch(part.tolist(), order[first])
        self.epoch, self.taken = self.epoch + 1, 0

    def state(self) -> dict[str, int]:
        """Return the position."""
        return {"epoch": self.epoch, "taken": self.taken}

    def restore(self, state: Mapping[str, int]) -> None:
        """Go to a position."""
        self.epoch, self.taken = state["epoch"], state["taken"]

    def _batch(self, rows: list[int], stand_in: int) -> Batch:
        """Return a batch of these features; of none of them `stand_in`, so marked."""
        batch = _collated(self._features, rows or [stand_in], self._collate)
        return batch if rows else batch | {STAND_IN: torch.ones(())}

    def _order(self) -> list[int]:
        state = np.random.SeedSequence((self._seed, self.epoch)).generate_state(1)
        generator = torch.Generator().manual_seed(int(state[0]))
        if self._lengths is None:
            return torch.randperm(len(self._features), generator=generator).tolist()
        return get_length_grouped_indices(self._lengths, self._size, generator=generator)


def padding_words(padding: str, max_length: int) -> dict[str, Any]:
    """Return what `padding` means in a tokenizer's words.

    Raises:
        ValueError: `padding` is unknown.
    """
    if padding == "dynamic":
        return {"pad_to_multiple_of": PAD_TO_MULTIPLE_OF}
    if padding == "max_length":
        return {"padding": "max_length", "max_length": max_length}
    raise ValueError(f"data.padding is {padding!r}, must be one of: {', '.join(PADDINGS)}")


def eval_loader(
    features: datasets.Dataset, collate: Collate, *, batch_size: int, padding: str, share: tuple[int, int] = (0, 1)
) -> DataLoader[Batch]:
    """Return the features in batches, each with its number in the column `ROW`; the last may be smaller.

    Dynamic padding puts features of similar length together, the longest first, so that hardly any padding
    is computed; the numbers lead back to their order.

    Args:
        features: What is answered.
        collate: Makes a batch of features.
        batch_size: Features per batch.
        padding: dynamic | max_length.
        share: Number of this process, and of all. All get equally many features, so that some may get one twice.
    """
    order = np.arange(len(features))
    if padding == "dynamic":
        order = np.argsort(-np.asarray(features[LENGTH][:]), kind="stable")
    index, count = share
    own = np.resize(order, math.ceil(len(order) / count) * count)[index::count]  # filled up from the beginning
    numbered = _without_notes(features).add_column(ROW, range(len(features)))
    return DataLoader(
        numbered,
        batch_size=batch_size,
        sampler=own.tolist(),
        collate_fn=collate,
        num_workers=0,
        generator=torch.Generator(),  # its own, so that it does not draw on the global random state
    )


def median_batch(features: datasets.Dataset, collate: Collate, size: int) -> Batch:
    """Return a batch of `size` features whose lengths are about the median; of all, if there are fewer."""
    order = np.argsort(np.asarray(features[LENGTH][:]), kind="stable")
    first = max(0, (len(order) - size) // 2)
    return _collated(_without_notes(features), order[first : first + size].tolist(), collate)


def _collated(features: datasets.Dataset, rows: list[int], collate: Collate) -> Batch:
    columns = features[rows]
    return collate([dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])


def _without_notes(features: datasets.Dataset) -> datasets.Dataset:
    return features.remove_columns([name for name in features.column_names if name.startswith(NOTE)])
