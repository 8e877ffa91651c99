"""What stands in a table: text for people, a value to sort by, and the runs behind it."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from light_peft.report.html.svg import Look
from light_peft.report.overview import NOTHING
from light_peft.report.results import Comparison
from light_peft.report.statistics import interval, spread


class Whisker(NamedTuple):
    """A mean and its interval on a scale that is zero in the middle, in percent of the width."""

    low: float
    middle: float
    high: float


class Entry(NamedTuple):
    """One place of a table.

    Attributes:
        text: What is read there.
        value: What the column is sorted by; empty sorts last.
        link: Where the runs behind it are.
        note: Smaller, behind the text.
        hint: Shown when it is pointed at.
        whisker: Drawn beside the text.
        look: Of the name of a setting, how it is drawn.
    """

    text: str
    value: str = ""
    link: str = ""
    note: str = ""
    hint: str = ""
    whisker: Whisker | None = None
    look: Look | None = None


class Column(NamedTuple):
    """The head of a column."""

    title: str
    unit: str = ""
    is_number: bool = True
    hint: str = ""


class Table(NamedTuple):
    """A table that the reader can sort."""

    caption: str
    columns: list[Column]
    rows: list[list[Entry]]
    notes: Sequence[str] = ()


def amount(values: list[float], digits: int, link: str, unit: str = "") -> Entry:
    """Return mean ± sample standard deviation; the interval is its hint."""
    if not values:
        return Entry(NOTHING)
    found = interval(values)
    bounds = f"95 % interval {plain(found.low, digits)} to {plain(found.high, digits)}, " if found.count > 1 else ""
    mean, _, deviation = spread(values, digits).partition(" ± ")
    note = f"± {deviation}" if deviation else ""
    return Entry(plain(mean) + unit, repr(found.mean), link, note, f"{bounds}runs: {found.count}")


def difference(found: Comparison | None, link: str, limit: float) -> Entry:
    """Return a difference with its interval, and the same drawn on a scale from -limit to limit."""
    if found is None:
        return Entry(NOTHING)
    note = f"[{plain(found.low, 1)}, {plain(found.high, 1)}]" if found.pairs > 1 else "one pair"
    low, middle, high = (50 + 50 * max(-1.0, min(1.0, x / limit)) for x in (found.low, found.mean, found.high))
    whisker = Whisker(low if found.pairs > 1 else middle, middle, high if found.pairs > 1 else middle)
    return Entry(signed(found.mean), repr(found.mean), link, note, f"pairs of runs: {found.pairs}", whisker)


def probability(found: Comparison | None, link: str) -> Entry:
    """Return the p of the permutation test, beside the smallest that so many pairs can give."""
    if found is None or found.p_value is None:
        return Entry(NOTHING)
    hint = f"paired permutation test; {found.pairs} pairs can never give less than {_chance(found.smallest_p)}"
    return Entry(_chance(found.p_value), repr(found.p_value), link, f"min {_chance(found.smallest_p)}", hint)


def times(found: tuple[float, int] | None, link: str) -> Entry:
    """Return a ratio to the baseline, and over how many tasks it is a mean."""
    if found is None:
        return Entry(NOTHING)
    return Entry(f"{found[0]:.2f}×", repr(found[0]), link, hint=f"tasks: {found[1]}")


def _chance(p_value: float) -> str:
    return f"{p_value:.2g}" if p_value >= 0.001 else "< 0.001"


def signed(value: float, digits: int = 1) -> str:
    """Return a difference with its sign; what rounds to nothing has none."""
    text = f"{value:+.{digits}f}"
    return plain(text if float(text) else text[1:])


def plain(value: float | str, digits: int = 1) -> str:
    """Return a number as it is printed, with a true minus sign."""
    if isinstance(value, float):
        value = f"{value:,.{digits}f}" if math.isfinite(value) else ("∞" if value > 0 else "-∞")
    return value.replace("-", "−")
