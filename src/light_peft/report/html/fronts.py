"""What a score costs: settings by score and by a cost, and the front of those that no other one beats in both."""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from light_peft.report.html.svg import Axis, Drawing, Look, Panel, Point
from light_peft.report.results import FIGURES, Figure, Setting

COSTS = {"step_speed": "Score and training speed", "memory": "Score and memory", "trainables": "Score and parameters"}
"""Figures that the score is set beside, and the titles of the panels."""
LOGARITHMIC = ("trainables",)


class Spread(NamedTuple):
    """A mean over seeds with the sample standard deviation, 0 of one seed."""

    mean: float
    deviation: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of one value or more."""
        return cls(fmean(values), stdev(values) if len(values) > 1 else 0.0)


def fronts(settings: Sequence[Setting], looks: Mapping[str, Look]) -> list[Drawing]:
    """Return the panels of one task."""
    return [found for key, title in COSTS.items() if (found := _panel(settings, looks, FIGURES[key], title))]


def front_of(points: Mapping[str, Point], *, more_x_is_better: bool) -> list[str]:
    """Return the names of the points (x, score) that no other one equals or beats in both and beats in one, by x."""
    sign = 1 if more_x_is_better else -1

    def is_beaten(name: str) -> bool:
        x, y = points[name]
        others = (point for point in points.values())
        return any(sign * u >= sign * x and v >= y and (u, v) != (x, y) for u, v in others)

    return sorted((name for name in points if not is_beaten(name)), key=lambda name: points[name])


def _panel(settings: Sequence[Setting], looks: Mapping[str, Look], cost: Figure, title: str) -> Drawing | None:
    spreads: dict[str, tuple[Spread, Spread]] = {}
    for setting in settings:
        of_cost, of_score = (list(setting.values(figure).values()) for figure in (cost, FIGURES["score"]))
        if of_cost and of_score:
            spreads[setting.name] = (Spread.of(of_cost), Spread.of(of_score))
    if len(spreads) < 2:
        return None
    points = {name: (x.mean, y.mean) for name, (x, y) in spreads.items()}
    is_log = cost.key in LOGARITHMIC and min(x for x, _ in points.values()) > 0
    x = Axis.over(
        [x.mean + side * x.deviation for x, _ in spreads.values() for side in (-1, 1)],
        ", ".join(filter(None, (cost.title, cost.unit))),
        is_log=is_log,
    )
    y = Axis.over([y.mean + side * y.deviation for _, y in spreads.values() for side in (-1, 1)], "score × 100")
    panel = Panel(x, y, f"{title} of {len(points)} settings")
    _draw_front(panel, [points[name] for name in front_of(points, more_x_is_better=cost.more_is_better)])
    for name, (across, up) in spreads.items():
        _draw_bars(panel, across, up, looks[name])
    for name, (across, up) in spreads.items():
        told = f"{name}: score {up.mean:.1f}, {cost.title} {cost.shown(across.mean)} {cost.unit}"
        panel.dot((across.mean, up.mean), looks[name], told)
    better = "right" if cost.more_is_better else "left"
    return Drawing(title, panel.svg(), f"Better is up and to the {better}.")


def _draw_front(panel: Panel, front: Sequence[Point]) -> None:
    if len(front) > 1:
        panel.line(front, "front")


def _draw_bars(panel: Panel, across: Spread, up: Spread, look: Look) -> None:
    if across.deviation:
        ends = [(across.mean + side * across.deviation, up.mean) for side in (-1, 1)]
        panel.line(ends, f"{look.css} error")
    if up.deviation:
        panel.line([(across.mean, up.mean + side * up.deviation) for side in (-1, 1)], f"{look.css} error")
