"""An object of a file, whose values are checked as they are taken, and what a format makes of it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from light_peft.data.table import listed, shown

Row = dict[str, Any]
"""Column of the task -> value."""


@dataclass(frozen=True)
class Entry:
    """An object of a file, or one within it, and its place for messages."""

    values: Mapping[str, Any]
    place: str
    """File and line of the outermost object."""
    path: str = ""
    """Way from the outermost object to this one, such as `passage.questions[2].`."""

    def __contains__(self, key: str) -> bool:
        """Return whether there is a value other than null for `key`."""
        return self.values.get(key) is not None

    def text(self, key: str) -> str:
        """Return the string at `key`.

        Raises:
            ValueError: it is missing or no string.
        """
        value = self._value(key)
        return value if isinstance(value, str) else self.refuse(key, "a string")

    def integer(self, key: str) -> int:
        """Return the whole number at `key`; one spelled in digits will do.

        Raises:
            ValueError: it is missing or no whole number.
        """
        value = self._value(key)
        if isinstance(value, str) and value.isdecimal():
            return int(value)
        return value if isinstance(value, int) and not isinstance(value, bool) else self.refuse(key, "a whole number")

    def items(self, key: str) -> list[Any]:
        """Return the list at `key`.

        Raises:
            ValueError: it is missing or no list.
        """
        value = self._value(key)
        return value if isinstance(value, list) else self.refuse(key, "a list")

    def texts(self, key: str) -> list[str]:
        """Return the list of strings at `key`.

        Raises:
            ValueError: it is missing or no list of strings.
        """
        values = self.items(key)
        return values if all(isinstance(value, str) for value in values) else self.refuse(key, "a list of strings")

    def inner(self, key: str) -> "Entry":
        """Return the object at `key`.

        Raises:
            ValueError: it is missing or no object.
        """
        value = self._value(key)
        return (
            Entry(value, self.place, f"{self.path}{key}.") if isinstance(value, dict) else self.refuse(key, "an object")
        )

    def inners(self, key: str) -> "list[Entry]":
        """Return the objects of the list at `key`; an object of lists of equal length stands for a list of objects.

        The hub stores lists of objects in the latter way.

        Raises:
            ValueError: it is missing or neither of the two.
        """
        values = self._value(key)
        if isinstance(values, dict) and values and all(isinstance(column, list) for column in values.values()):
            if len({len(column) for column in values.values()}) > 1:
                self.refuse(key, "an object of lists of equal length")
            values = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            self.refuse(key, "a list of objects")
        return [Entry(value, self.place, f"{self.path}{key}[{number}].") for number, value in enumerate(values)]

    def copied(self, *keys: str) -> Row:
        """Return those of `keys` that there are, with their values as they stand."""
        return {key: self.values[key] for key in keys if key in self.values}

    def refuse(self, key: str, expected: str) -> NoReturn:
        """Say that the value at `key` is not what is needed.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"{self.place}: {self.path}{key} is {shown(self.values.get(key))}, must be {expected}")

    def _value(self, key: str) -> Any:
        if key not in self.values:
            raise ValueError(f"{self.place} has no key {self.path}{key}, its keys are: {listed(self.values)}")
        return self.values[key]


@dataclass(frozen=True)
class Format:
    """How the objects of a file become rows."""

    rows: Callable[[Entry], Iterable[Row]]
    """The rows of one object, official or the hub's; a label that is not there gives no column."""
    container: str | None = None
    """Key of a JSON file's one object that holds the list of all others; null where the file is such a list itself."""


def distinct(texts: Iterable[str]) -> list[str]:
    """Return the texts without repetitions, in the order in which they first occur."""
    return list(dict.fromkeys(texts))
