"""What a search may choose: the words of a run, some of which hold a range instead of a value."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

Value = float | int | str
Params = Mapping[str, Value]
"""A value for each range, by key."""

LEAST_PARTS = 20
"""An interval is cut into this many parts at least, and fewer than ten times as many: a power of ten wide each."""
PARTS_PER_DECADE = 20
"""Values for each factor of ten, where an interval is searched by factors."""


@dataclass(frozen=True)
class Dimension:
    """One range.

    Attributes:
        key: The key of the word.
        text: The range as it was asked for.
        values: All that may be chosen, each once.
        is_ordered: Whether neighbours are alike, so that what is found at one says something of the next.
    """

    key: str
    text: str
    values: tuple[Value, ...]
    is_ordered: bool


@dataclass(frozen=True)
class Space:
    """The words of a run, in their order, with a `Dimension` where a range is."""

    parts: tuple[str | Dimension, ...]

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """The ranges."""
        return tuple(part for part in self.parts if isinstance(part, Dimension))

    @property
    def fixed(self) -> tuple[str, ...]:
        """The words that all trials share."""
        return tuple(part for part in self.parts if isinstance(part, str))

    def words(self, params: Params) -> tuple[str, ...]:
        """Return the words with these values for the ranges."""
        return tuple(part if isinstance(part, str) else f"{part.key}={params[part.key]}" for part in self.parts)

    def corners(self) -> Iterable[Params]:
        """Yield settings that have each end of each ordered range, and each value of the others, at least once."""
        most = max(2 if one.is_ordered else len(one.values) for one in self.dimensions)
        for index in range(most):
            yield {one.key: _end(one, index) for one in self.dimensions}


def _end(dimension: Dimension, index: int) -> Value:
    values = (dimension.values[0], dimension.values[-1]) if dimension.is_ordered else dimension.values
    return values[index % len(values)]


def even_grid(low: float, high: float) -> tuple[float, ...]:
    """Return the values from `low` to below `high` in steps of a power of ten, which makes short numbers of them."""
    first, end = Decimal(repr(low)), Decimal(repr(high))
    step = Decimal(10) ** math.floor(((end - first) / LEAST_PARTS).log10())
    return tuple(float(first + index * step) for index in range(math.ceil((end - first) / step)))


def geometric_grid(low: float, high: float) -> tuple[float, ...]:
    """Return values from `low` to below `high`, each by the same factor above the last but for their two digits."""
    count = math.ceil(PARTS_PER_DECADE * math.log10(high / low))
    values = (float(f"{low * 10 ** (index / PARTS_PER_DECADE):.2g}") for index in range(count))
    return tuple(dict.fromkeys(value for value in values if low <= value < high))
