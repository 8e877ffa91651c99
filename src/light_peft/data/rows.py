"""From the objects of a file, or of a data set on the hub, to the columns of a task."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from light_peft.data.formats import Format, Placed, unfold
from light_peft.data.table import Table, listed


class MissingColumnError(ValueError):
    """A column that a task needs is not there.

    Attributes:
        column: Its name in the task.
    """

    def __init__(self, message: str, column: str) -> None:
        super().__init__(message)
        self.column = column


def pick_columns(source: str, header: Sequence[str], columns: Sequence[str], rename: dict[str, str]) -> dict[str, str]:
    """Return for each of `columns` the name that it has in `header`.

    Raises:
        MissingColumnError: a column is missing.
        ValueError: two of the header stand for the same one.
    """
    picked = {}
    for column in columns:
        found = [name for name in header if name == column or rename.get(name) == column]
        if not found:
            expected = " or ".join([column, *(old for old, new in rename.items() if new == column)])
            message = f"{source} has no column {expected}, its columns are: {listed(header)}"
            raise MissingColumnError(message, column)
        if len(found) > 1:
            raise ValueError(f"{source} has several columns for {column}: {listed(found)}")
        picked[column] = found[0]
    return picked


def entries(table: Table) -> Iterator[Placed]:
    """Yield the rows of a table as objects, each with its place."""
    names = list(table.columns)
    for place, values in zip(table.places, zip(*table.columns.values(), strict=True), strict=True):
        yield Placed(place, dict(zip(names, values, strict=True)))


def tabulate(
    objects: Iterable[Placed], form: Format | None, columns: Sequence[str], *, rename: dict[str, str], like: Table
) -> Table:
    """Return `columns` of the rows that `form` makes of the objects; source and unit are those of `like`.

    Raises:
        ValueError: an object is not what the format needs, or a row lacks a column.
    """
    values: dict[str, list[Any]] = {column: [] for column in columns}
    places: list[int] = []
    picked: dict[tuple[str, ...], dict[str, str]] = {}
    for placed in unfold(iter(objects), form, source=like.source, unit=like.unit):
        header = tuple(placed.values)
        if header not in picked:
            source = f"{like.source}, {like.unit} {placed.number}"
            picked[header] = pick_columns(source, header, columns, rename)
        for column, name in picked[header].items():
            values[column].append(placed.values[name])
        places.append(placed.number)
    return Table(like.source, values, places, like.unit)
