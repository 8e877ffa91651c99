"""From encoded examples to batches."""

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from typing import Any

import datasets
import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler
from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase
from transformers.trainer_pt_utils import get_length_grouped_indices

PADDINGS = ("dynamic", "max_length")
PAD_TO_MULTIPLE_OF = 8

Batch = dict[str, torch.Tensor]
ROW = "row"
"""Column of a batch that holds the number of each example [B], for evaluation only."""


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


def train_loader(
    dataset: datasets.Dataset,
    tokenizer: PreTrainedTokenizerBase,
    *,
    batch_size: int,
    padding: str,
    max_length: int,
    seed: int,
) -> DataLoader[Batch]:
    """Return all encoded examples in batches, in an order that is new at each iteration and fixed by `seed`.

    Dynamic padding groups examples of similar length, the longest batch first. The last batch may be smaller.

    Raises:
        ValueError: `padding` is unknown.
    """
    collate = _collator(tokenizer, padding, max_length)
    lengths = [len(ids) for ids in dataset["input_ids"][:]] if padding == "dynamic" else None
    sampler = EpochSampler(len(dataset), seed, lengths=lengths, batch_size=batch_size)
    return _loader(dataset, collate, batch_size=batch_size, sampler=sampler)


def eval_loader(
    dataset: datasets.Dataset, tokenizer: PreTrainedTokenizerBase, *, batch_size: int, padding: str, max_length: int
) -> DataLoader[Batch]:
    """Return all encoded examples in batches, each with its number in the column `ROW`; the last may be smaller.

    Dynamic padding puts examples of similar length together, the longest first, so that hardly any padding
    is computed; the numbers lead back to the order of the examples.

    Raises:
        ValueError: `padding` is unknown.
    """
    collate, numbered = _collator(tokenizer, padding, max_length), dataset.add_column(ROW, range(len(dataset)))
    order: Iterable[int] = range(len(dataset))
    if padding == "dynamic":
        lengths = np.array([len(ids) for ids in dataset["input_ids"][:]])
        order = np.argsort(-lengths, kind="stable").tolist()
    return _loader(numbered, collate, batch_size=batch_size, sampler=order)


def _loader(
    dataset: Sized, collate: Callable[[list[dict[str, Any]]], Batch], *, batch_size: int, sampler: Iterable[int]
) -> DataLoader[Batch]:
    """Return the loader; its own generator keeps it from drawing on the global random state."""
    return DataLoader(
        dataset,  # type: ignore[arg-type]
        batch_size=batch_size,
        sampler=sampler,
        collate_fn=collate,
        num_workers=0,
        generator=torch.Generator(),
    )


def _collator(
    tokenizer: PreTrainedTokenizerBase, padding: str, max_length: int
) -> Callable[[list[dict[str, Any]]], Batch]:
    if padding == "dynamic":
        return DataCollatorWithPadding(tokenizer, pad_to_multiple_of=PAD_TO_MULTIPLE_OF)
    if padding == "max_length":
        return DataCollatorWithPadding(tokenizer, padding="max_length", max_length=max_length)
    raise ValueError(f"data.padding is {padding!r}, must be one of: {', '.join(PADDINGS)}")
