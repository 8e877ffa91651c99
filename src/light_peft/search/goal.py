"""What a search is after: a high score at a low cost, or the highest score within a budget."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from light_peft.artifacts import RunRecord
from light_peft.report.figures import FIGURES

Cost = Callable[[RunRecord, RunRecord], float]


def _over_plain(key: str) -> Cost:
    """Return a cost of a run as a share of that of plain PEFT."""
    figure = FIGURES[key]
    if figure.more_is_better:
        return lambda record, plain: figure.of(plain) / figure.of(record)
    return lambda record, plain: figure.of(record) / figure.of(plain)


COSTS: Mapping[str, Cost] = {
    "blocks": lambda record, _: FIGURES["blocks"].of(record) / 100,
    "seconds": _over_plain("seconds"),
    "memory": _over_plain("memory"),
    "step": _over_plain("step_speed"),
}
"""By name: the share of the blocks' parameters that stays; of the run, the run's peak memory and a training example
the seconds, bytes and seconds, as shares of those of plain PEFT with the same seed."""
ABSOLUTE = ("blocks",)
"""Costs that need no run of plain PEFT."""


@dataclass(frozen=True)
class Goal:
    """The objectives and the constraint.

    Attributes:
        cost: The name of the cost that shall be low besides a high score.
        limited: The name of the cost that has a budget; None without a budget.
        at_most: The budget.
    """

    cost: str
    limited: str | None = None
    at_most: float = 1.0

    @property
    def is_one(self) -> bool:
        """Whether the score alone is sought: the cost has a budget, and what is below it brings nothing more."""
        return self.cost == self.limited

    @property
    def needed(self) -> tuple[str, ...]:
        """The costs that count."""
        return tuple(dict.fromkeys(name for name in (self.cost, self.limited) if name is not None))

    @property
    def needs_plain(self) -> bool:
        """Whether plain PEFT has to run, too."""
        return any(name not in ABSOLUTE for name in self.needed)

    def costs(self, records: Sequence[RunRecord], plain: Sequence[RunRecord]) -> dict[str, float]:
        """Return the means over the seeds of what counts; `plain` may be empty where it is not needed."""
        pairs = list(zip(records, plain if self.needs_plain else records, strict=True))
        return {name: statistics.mean(COSTS[name](*pair) for pair in pairs) for name in self.needed}

    def excess(self, costs: Mapping[str, float]) -> float:
        """Return by how much the budget is exceeded; at most 0 within it, and without one."""
        return costs[self.limited] - self.at_most if self.limited is not None else 0.0


def front_of(points: Mapping[int, tuple[float, float]]) -> list[int]:
    """Return the keys of the points (score, cost) that no other one beats: cheapest first, of equal ones the first."""
    front: list[int] = []
    best = float("-inf")
    for key, (score, _) in sorted(points.items(), key=lambda item: (item[1][1], -item[1][0], item[0])):
        if score > best:
            front.append(key)
            best = score
    return front


def best_of(points: Mapping[int, tuple[float, float]]) -> int | None:
    """Return the key of the highest score, of equal ones the cheapest, then the first; None if there is no point."""
    return min(points, key=lambda key: (-points[key][0], points[key][1], key), default=None)
