"""Validation examples that are training examples as well, and so are no test of what was learned."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import datasets
import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute  # type: ignore[import-untyped]

from light_peft.tasks.formulation import LABEL


@dataclass(frozen=True)
class Duplicates:
    """How many validation examples have the inputs of a training example."""

    num_rows: int
    """All of them."""
    num_conflicting: int
    """Those among them whose label no training example with these inputs has; 0 where there are no labels."""


def duplicates(train: datasets.Dataset, validation: datasets.Dataset, columns: Sequence[str]) -> Duplicates:
    """Return how many examples of `validation` are in `train`, by the texts in `columns`.

    Texts are equal to the letter, but for white space around them; columns that hold lists of texts are compared as
    lists.
    """
    inputs = _numbers([_texts(train, name) for name in columns], [_texts(validation, name) for name in columns])
    found = np.isin(inputs[len(train) :], inputs[: len(train)])
    if LABEL not in train.column_names or LABEL not in validation.column_names:
        return Duplicates(int(found.sum()), 0)
    pairs = _combine(inputs, _codes(_spelled(_column(train, LABEL)), _spelled(_column(validation, LABEL))))
    agreeing = np.isin(pairs[len(train) :], pairs[: len(train)])
    return Duplicates(int(found.sum()), int((found & ~agreeing).sum()))


def _numbers(train: Sequence[pa.ChunkedArray], validation: Sequence[pa.ChunkedArray]) -> np.ndarray:
    """Return a number for each row of both, first those of `train`: equal if all columns are."""
    numbers = np.zeros(len(train[0]) + len(validation[0]), dtype=np.int64)
    for ours, theirs in zip(train, validation, strict=True):
        numbers = _combine(numbers, _codes(ours, theirs))
    return numbers


def _codes(train: pa.ChunkedArray, validation: pa.ChunkedArray) -> np.ndarray:
    """Return a number for each value of both: equal for equal values."""
    joined = pa.chunked_array([*train.chunks, *validation.chunks]).combine_chunks()
    codes: np.ndarray = joined.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    return codes.astype(np.int64)


def _combine(numbers: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return a number for each pair of a number and a code, below the number of rows."""
    if not len(codes):
        return codes
    _, combined = np.unique(numbers * (codes.max() + 1) + codes, return_inverse=True)
    return combined


def _texts(split: datasets.Dataset, name: str) -> pa.ChunkedArray:
    """Return a column of texts, or of lists of them, without the white space around each text."""
    column = _column(split, name)
    if pa.types.is_list(column.type):
        lists = [[text.strip() for text in texts] for texts in column.to_pylist()]
        return _spelled(pa.chunked_array([pa.array(lists, pa.list_(pa.string()))]))
    return pa.compute.utf8_trim_whitespace(column.cast(pa.large_string()))


def _spelled(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column whose values can be told apart: lists are spelled as JSON."""
    if not pa.types.is_list(column.type):
        return column
    return pa.chunked_array([pa.array(list(map(json.dumps, column.to_pylist())), pa.large_string())])


def _column(split: datasets.Dataset, name: str) -> pa.ChunkedArray:
    return split.select_columns([name]).with_format("arrow")[:][name]
