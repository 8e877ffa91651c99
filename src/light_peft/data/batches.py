"""From features, which are encoded examples or parts of them, to batches."""

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from typing import Any

import datasets
import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler
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
"""Column of a batch that holds the number of each feature [B], for evaluation only."""


class EpochSampler(Sampler[int]):
    """A new order at every iteration, fixed by (seed, epoch) alone; `epoch` counts the iterations begun.

    How far an iteration is consumed, the global random state and the number of processes do not matter.
    """

    def __init__(self, num_examples: int, seed: int, *, lengths: Sequence[int] | None = None, batch_size: int = 1):
        """Order `num_examples`; `lengths` (tokens) puts examples of similar length into the same batch."""
        self.num_examples = num_examples
        self.seed = seed
        self.lengths = lengths
        self.batch_size = batch_size
        self.epoch = 0

    def __len__(self) -> int:
        """Return the number of examples."""
        return self.num_examples

    def __iter__(self) -> Iterator[int]:
        """Begin the next epoch."""
        state = np.random.SeedSequence((self.seed, self.epoch)).generate_state(1)
        generator = torch.Generator().manual_seed(int(state[0]))
        self.epoch += 1
        if self.lengths is None:
            return iter(torch.randperm(self.num_examples, generator=generator).tolist())
        return iter(get_length_grouped_indices(self.lengths, self.batch_size, generator=generator))


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


def train_loader(
    features: datasets.Dataset, collate: Collate, *, batch_size: int, padding: str, seed: int
) -> DataLoader[Batch]:
    """Return all features in batches, in an order that is new at each iteration and fixed by `seed`.

    Dynamic padding groups features of similar length, the longest batch first. The last batch may be smaller.
    """
    lengths = features[LENGTH][:] if padding == "dynamic" else None
    sampler = EpochSampler(len(features), seed, lengths=lengths, batch_size=batch_size)
    return _loader(_without_notes(features), collate, batch_size=batch_size, sampler=sampler)


def eval_loader(features: datasets.Dataset, collate: Collate, *, batch_size: int, padding: str) -> DataLoader[Batch]:
    """Return all features in batches, each with its number in the column `ROW`; the last may be smaller.

    Dynamic padding puts features of similar length together, the longest first, so that hardly any padding
    is computed; the numbers lead back to their order.
    """
    order: Iterable[int] = range(len(features))
    if padding == "dynamic":
        order = np.argsort(-np.asarray(features[LENGTH][:]), kind="stable").tolist()
    numbered = _without_notes(features).add_column(ROW, range(len(features)))
    return _loader(numbered, collate, batch_size=batch_size, sampler=order)


def _without_notes(features: datasets.Dataset) -> datasets.Dataset:
    return features.remove_columns([name for name in features.column_names if name.startswith(NOTE)])


def _loader(features: Sized, collate: Collate, *, batch_size: int, sampler: Iterable[int]) -> DataLoader[Batch]:
    """Return the loader; its own generator keeps it from drawing on the global random state."""
    return DataLoader(
        features,  # type: ignore[arg-type]
        batch_size=batch_size,
        sampler=sampler,
        collate_fn=collate,
        num_workers=0,
        generator=torch.Generator(),
    )
