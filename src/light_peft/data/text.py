"""From texts to token ids."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import datasets
from transformers import PreTrainedTokenizerBase

from light_peft.config import TaskConfig

LABEL = "label"


def encode(
    dataset: datasets.Dataset, task: TaskConfig, tokenizer: PreTrainedTokenizerBase, *, max_length: int
) -> datasets.Dataset:
    """Return the examples as the model's inputs, unpadded, at most `max_length` tokens; `labels` if they have a label.

    Raises:
        ValueError: a text column is missing.
    """
    missing = [column for column in task.text if column not in dataset.column_names]
    if missing:
        raise ValueError(
            f"no column {missing[0]} in the examples, their columns are: {', '.join(dataset.column_names)}"
        )

    def encode_batch(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        inputs = tokenize([batch[column] for column in task.text], tokenizer, max_length=max_length)
        return inputs | ({"labels": batch[LABEL]} if LABEL in batch else {})

    with quiet_progress():
        return dataset.map(encode_batch, batched=True, remove_columns=dataset.column_names)


def tokenize(
    texts: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerBase, *, max_length: int
) -> dict[str, list[list[int]]]:
    """Return the token ids of N texts, given as one list or as two of equal length (pairs); longest cut first."""
    assert 1 <= len(texts) <= 2, len(texts)
    return dict(tokenizer(*map(list, texts), truncation=True, max_length=max_length))


@contextmanager
def quiet_progress() -> Iterator[None]:
    """Show no progress bars of `datasets` inside; afterwards they are as they were."""
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()
