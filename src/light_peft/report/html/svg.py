"""A panel of a figure as SVG text, in the colours and the type of the page that it stands in.

Lengths are in CSS pixels: a panel is as wide as a small phone, where its text has to be read, and wider screens set
several beside each other. Whatever is written into a panel is escaped.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

WIDTH, HEIGHT = 330, 216
LEFT, RIGHT, TOP, BOTTOM = 54, 12, 10, 38
MARKERS = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0",
    "M-3.6-3.6h7.2v7.2h-7.2z",
    "M0-5.2L5.2 0L0 5.2L-5.2 0z",
    "M0-4.8L4.8 3.6H-4.8z",
    "M0 4.8L4.8-3.6H-4.8z",
)
"""Circle, square, diamond and two triangles: no series is told by its colour alone."""
COLOURS, DASHES = 6, 3

Point = tuple[float, float]


class Look(NamedTuple):
    """How a series is drawn: the class of its colour, and which marker and dash."""

    css: str = "accent"
    number: int = 0

    @property
    def marker(self) -> str:
        """Path of the marker around the origin."""
        return MARKERS[self.number % len(MARKERS)]

    @property
    def dash(self) -> str:
        """Class of the line's dash."""
        return f"d{self.number % DASHES}"


class Drawing(NamedTuple):
    """One panel with what stands above and below it."""

    title: str
    svg: Markup
    note: str = ""
    look: Look | None = None


@dataclass(frozen=True)
class Axis:
    """A range of values, what it is called, and where its ticks are."""

    low: float
    high: float
    label: str = ""
    ticks: tuple[float, ...] = ()
    is_log: bool = False

    @classmethod
    def over(cls, values: Iterable[float], label: str = "", *, is_log: bool = False, from_zero: bool = False) -> "Axis":
        """Return an axis that has room for all values; what is not positive has no place on a logarithmic one."""
        found = [value for value in values if math.isfinite(value) and (value > 0 or not is_log)] or [1.0]
        low, high = min(found), max(found)
        if is_log:
            room = max(high / low, 1.5) ** 0.08
            low, high = low / room, high * room
            return cls(low, high, label, _log_ticks(low, high), is_log=True)
        room = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
        low, high = (min(0.0, low) if from_zero else low - room), high + (0.4 if from_zero else 1) * room
        ticks = MaxNLocator(nbins=5, steps=[1, 2, 5, 10]).tick_values(low, high)
        return cls(low, high, label, tuple(float(tick) for tick in ticks if low <= tick <= high))

    def share(self, value: float) -> float:
        """Return where a value lies, 0 at the low end and 1 at the high one."""
        if self.is_log:
            return math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


class Panel:
    """A frame with two axes, and what has been drawn into it so far."""

    def __init__(self, x: Axis, y: Axis, about: str, *, left: int = LEFT, height: int = HEIGHT) -> None:
        """Begin a panel that `about` describes for those who cannot see it."""
        self.x, self.y, self.left, self.height = x, y, left, height
        self.width, self.depth = WIDTH - left - RIGHT, height - TOP - BOTTOM
        self._about, self._parts = about, [Markup("")]

    def x_of(self, value: float) -> float:
        """Return where a value of the horizontal axis lies."""
        return round(self.left + self.width * self.x.share(value), 1)

    def y_of(self, value: float) -> float:
        """Return where a value of the vertical axis lies."""
        return round(TOP + self.depth * (1 - self.y.share(value)), 1)

    def add(self, template: str, *values: object) -> None:
        """Draw an element; values are escaped."""
        self._parts.append(Markup(template).format(*values))

    def text(self, place: Point, words: object, css: str = "") -> None:
        """Write at a place in pixels."""
        self.add('<text x="{}" y="{}" class="{}">{}</text>', round(place[0], 1), round(place[1], 1), css, words)

    def line(self, points: Sequence[Point], css: str) -> None:
        """Draw a line through points."""
        path = "L".join(f"{self.x_of(x)} {self.y_of(y)}" for x, y in points)
        self.add('<path class="line {}" d="M{}"/>', css, path)

    def upright(self, x: float, css: str = "cut") -> None:
        """Draw a line across the panel, at a value of the horizontal axis."""
        self.add('<path class="line {}" d="M{} {}V{}"/>', css, self.x_of(x), TOP, TOP + self.depth)

    def dot(self, point: Point, look: Look, title: str, css: str = "") -> None:
        """Draw a marker that says what it is when it is pointed at."""
        place = f"{self.x_of(point[0])} {self.y_of(point[1])}"
        element = '<path class="dot {} {}" d="{}" transform="translate({})"><title>{}</title></path>'
        self.add(element, look.css, css, look.marker, place, title)

    def box(self, corner: Point, size: Point, css: str, title: str = "") -> None:
        """Draw a rectangle in pixels."""
        edges = (round(value, 1) for value in (*corner, *size))
        element = '<rect x="{}" y="{}" width="{}" height="{}" class="{}"><title>{}</title></rect>'
        self.add(element if title else element.replace("<title>{}</title>", ""), *edges, css, title)

    def svg(self) -> Markup:
        """Return the panel with its axes behind what was drawn."""
        inner, self._parts = self._parts, []
        bottom, right = TOP + self.depth, self.left + self.width
        for tick in self.y.ticks:
            self.add('<path class="grid" d="M{} {}H{}"/>', self.left, self.y_of(tick), right)
            self.text((self.left - 6, self.y_of(tick) + 4), number(tick), "end")
        self.add('<path class="axis" d="M{} {}H{}"/>', self.left, bottom, right)
        for tick in self.x.ticks:
            self.add('<path class="axis" d="M{} {}v4"/>', self.x_of(tick), bottom)
            self.text((self.x_of(tick), bottom + 16), number(tick), "mid")
        self.text((self.left + self.width / 2, self.height - 4), self.x.label, "mid label")
        if self.y.label:
            element = '<text class="mid label" transform="translate(11 {})rotate(-90)">{}</text>'
            self.add(element, round(TOP + self.depth / 2), self.y.label)
        frame = '<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
        return Markup(frame).format(WIDTH, self.height, self._about, Markup("").join([*self._parts, *inner]))


def number(value: float) -> str:
    """Return a number for an axis, short."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):.3g}{letter}"
    if 0 < abs(value) < 1e-3:
        digits, power = f"{value:g}".split("e") if "e" in f"{value:g}" else f"{value:.0e}".split("e")
        return f"{digits}e{int(power)}".replace("-", "−")
    return f"{value:.4g}".replace("-", "−") if abs(value) < 1e3 else f"{value:,.0f}"


def _log_ticks(low: float, high: float) -> tuple[float, ...]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = tuple(factor * 10.0**power for power in powers for factor in factors)
        inside = tuple(tick for tick in ticks if low <= tick <= high)
        if len(inside) <= 5:
            return inside
    return inside[:: math.ceil(len(inside) / 5)]
