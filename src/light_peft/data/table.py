"""A split as it was read: the columns of a task, and where each row stands."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


def shown(value: Any, most: int = 80) -> str:
    """Return a value as a message shows it: like Python writes it, and not all of what is long."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def listed(names: Iterable[str], most: int = 400) -> str:
    """Return names as a message lists them; one with tabs or the like is quoted, of very many the first ones."""
    text = ", ".join(name if name.isprintable() else repr(name) for name in names)
    return text if len(text) <= most else f"{text[: most - 3]}..."


@dataclass(frozen=True)
class Table:
    """Columns of equal length and the place of every row, for messages."""

    source: str
    """File, or data set on the hub."""
    columns: dict[str, list[Any]]
    """Column of the task -> its values, not yet checked."""
    places: Sequence[int]
    """Number of each row in `source`."""
    unit: str = "line"
    """line | row | object: what `places` counts, from 1."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.places)

    def where(self, index: int) -> str:
        """Return the place of row `index` in words."""
        return f"{self.source}, {self.unit} {self.places[index]}"

    def take(self, indices: Sequence[int]) -> "Table":
        """Return a table of the rows `indices`, in that order."""
        columns = {name: [values[index] for index in indices] for name, values in self.columns.items()}
        return Table(self.source, columns, [self.places[index] for index in indices], self.unit)

    @classmethod
    def join(cls, tables: "Sequence[Table]") -> "Table":
        """Return one table of all rows, in order; of several shards the rows are counted through."""
        if len(tables) == 1:
            return tables[0]
        columns = {name: _chain(table.columns[name] for table in tables) for name in tables[0].columns}
        places = range(1, sum(map(len, tables)) + 1)
        return cls(", ".join(table.source for table in tables), columns, places, "row")


def _chain(parts: Iterable[list[Any]]) -> list[Any]:
    return [value for part in parts for value in part]
