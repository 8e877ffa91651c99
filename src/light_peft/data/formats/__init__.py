"""The forms that the objects of a task's files have, one small file each with a `FORMAT`.

The file's name is the value of `task.format`. Each takes the object of the official release and the flat row that
the hub has of the same data set, and gives the same rows for both; `rows` stands for objects that are rows already.
"""

import difflib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from light_peft.data.formats.entry import Entry, Format, Row

__all__ = ["ROWS", "Format", "Placed", "Row", "format_names", "format_of", "unfold"]

ROWS = "rows"


@dataclass(frozen=True)
class Placed:
    """An object as it was read, or a row that was made of one, and where it stands."""

    number: int
    values: Any


def format_names() -> list[str]:
    """Return the values that `task.format` may have."""
    return sorted([ROWS, *(module.name for module in pkgutil.iter_modules(__path__) if module.name != "entry")])


def format_of(name: str) -> Format | None:
    """Return the format of this name; None for `rows`.

    Raises:
        ValueError: there is no such format.
    """
    names = format_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"task.format is {name!r}, must be one of: {', '.join(names)}{hint}")
    if name == ROWS:
        return None
    found: Format = import_module(f"{__name__}.{name}").FORMAT
    return found


def unfold(objects: Iterator[Placed], form: Format | None, *, source: str, unit: str) -> Iterator[Placed]:
    """Yield the rows of all objects, each with the place of its object.

    Raises:
        ValueError: an object is not what the format needs; source, place and key are named.
    """
    for number, values in ((placed.number, placed.values) for placed in objects):
        place = f"{source}, {unit} {number}"
        if not isinstance(values, dict):
            raise ValueError(f"{place} is a JSON {type(values).__name__}, must be an object")
        rows = [values] if form is None else form.rows(Entry(values, place))
        for row in rows:
            yield Placed(number, row)
