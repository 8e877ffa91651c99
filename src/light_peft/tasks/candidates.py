"""The candidates of a choice as a table holds them, and which of them are right."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from light_peft.config import TaskConfig
from light_peft.data.table import Table
from light_peft.data.table import shown as _shown
from light_peft.data.text import strings
from light_peft.tasks.reading import text_lists


def candidates_of(table: Table, columns: Sequence[str], *, fewest: int = 2) -> list[list[str]]:
    """Return the candidates of every example, from one column of lists or from a column for each candidate.

    Raises:
        ValueError: If there are fewer than `fewest`, or one is empty.
    """
    if len(columns) == 1:
        found = text_lists(table, columns[0])
    else:
        found = [list(row) for row in zip(*(strings(table, column) for column in columns), strict=True)]
    shown = ", ".join(columns)
    for index, candidates in enumerate(found):
        if len(candidates) < fewest:
            raise ValueError(
                f"{table.where(index)}: {shown} holds {len(candidates)} candidates, must be {fewest} or more"
            )
        if not all(candidate.strip() for candidate in candidates):
            raise ValueError(f"{table.where(index)}: {shown} holds an empty candidate among {_shown(candidates)}")
    return found


def names_of(table: Table, column: str, candidates: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return what each candidate is called.

    Raises:
        ValueError: If there are not as many names as candidates.
    """
    names = text_lists(table, column)
    for index, (own, chosen_from) in enumerate(zip(names, candidates, strict=True)):
        if len(own) != len(chosen_from):
            raise ValueError(
                f"{table.where(index)}: {column} holds {len(own)} names, must be {len(chosen_from)}, one per candidate"
            )
    return names


def right_numbers(table: Table, task: TaskConfig, candidates: Sequence[Sequence[str]]) -> list[list[int]]:
    """Return the number of the right candidate of every example, each in a list.

    A label is a number from 0, or the name of the candidate's column where each has its own.

    Raises:
        ValueError: If a label is hidden (-1) or is none of these.
    """
    names = task.choice.columns if len(task.choice.columns) > 1 else []
    return [[_number(table, index, task.label, names, len(own))] for index, own in enumerate(candidates)]


def right_names(accepted: Sequence[Sequence[str]], names: Sequence[Sequence[str]]) -> list[list[int]]:
    """Return the numbers of the candidates of every example whose name is accepted; there may be none."""
    pairs = zip(accepted, names, strict=True)
    return [[number for number, name in enumerate(own) if name in texts] for texts, own in pairs]


def sample(right: Sequence[int], count: int, most: int | None, number: int) -> list[int]:
    """Return `most` of `count` candidates at most, in order, a right one among them; equal for equal `number`."""
    if most is None or count <= most:
        return list(range(count))
    drawn = np.random.default_rng(number).permutation(count).tolist()
    one = next(candidate for candidate in drawn if candidate in right)
    others = [candidate for candidate in drawn if candidate != one]
    return sorted([one, *others[: most - 1]])


def best_of_each(values: np.ndarray, example: np.ndarray) -> list[int]:
    """Return the number, within its example, of the first candidate with the largest value.

    Args:
        values: Value of each candidate [N].
        example: Example that each belongs to [N], ascending.
    """
    assert (np.diff(example) >= 0).all(), "the candidates of an example stand together"
    starts = np.flatnonzero(np.diff(example, prepend=example[0] - 1))
    largest = np.repeat(np.maximum.reduceat(values, starts), np.diff(starts, append=len(values)))
    hits = np.flatnonzero(values == largest)
    return list((hits[np.searchsorted(hits, starts)] - starts).tolist())


def _number(table: Table, index: int, column: str, names: Sequence[str], count: int) -> int:
    value: Any = table.columns[column][index]
    if value in names:
        return names.index(value)
    text = str(value).strip() if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if text == "-1":
        raise ValueError(
            f"{table.where(index)}: {column} is -1, a hidden test label, "
            "which can be neither trained on nor evaluated; give a labelled split"
        )
    if not (text.isascii() and text.isdigit()) or int(text) >= count:
        allowed = f"a number from 0 to {count - 1}" + (f", or one of: {', '.join(names)}" if names else "")
        raise ValueError(f"{table.where(index)}: {column} is {_shown(value)}, must be {allowed}")
    return int(text)
