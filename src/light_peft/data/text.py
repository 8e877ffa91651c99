"""From texts to token ids."""

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import datasets
from transformers import PreTrainedTokenizerBase

from light_peft.data.table import Table, shown

Encode = Callable[[dict[str, list[Any]], list[int]], dict[str, list[Any]]]
"""From columns of some examples and their numbers to the columns of their features, one or more each."""


def strings(table: Table, column: str) -> list[str]:
    """Return a column of texts.

    Raises:
        ValueError: a text is not a string.
    """
    for index, text in enumerate(table.columns[column]):
        if not isinstance(text, str):
            raise ValueError(f"{table.where(index)}: {column} is {shown(text)}, must be a string")
    return table.columns[column]


def map_quietly(examples: datasets.Dataset, encode: Encode) -> datasets.Dataset:
    """Return the features that `encode` makes of the examples."""
    # A fingerprint of our own: that of `datasets` pickles the tokenizer, which takes longer than to encode a small
    # split, and nothing is ever looked up by it.
    name = secrets.token_hex(8)
    with quiet_progress():
        return examples.map(
            encode, batched=True, with_indices=True, remove_columns=examples.column_names, new_fingerprint=name
        )


def tokenize(
    texts: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerBase, *, max_length: int, keep_ends: bool = False
) -> dict[str, list[list[int]]]:
    """Return the token ids of N texts, given as one list or as two of equal length (pairs); longest cut first.

    They are cut at their ends, or with `keep_ends` at their beginnings.
    """
    assert 1 <= len(texts) <= 2, len(texts)
    side = tokenizer.truncation_side
    tokenizer.truncation_side = "left" if keep_ends else side
    try:
        return dict(tokenizer(*map(list, texts), truncation=True, max_length=max_length))
    finally:
        tokenizer.truncation_side = side


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
