"""A search without models: what a run would find, as a formula of its shares."""

from collections.abc import Callable, Iterable

from light_peft.artifacts import RunRecord
from light_peft.search.goal import Goal
from light_peft.search.loop import Search
from light_peft.search.sampler import Sampler
from light_peft.search.space import Dimension, Space, even_grid
from light_peft.search.trials import Trial
from light_peft.sweeps.cells import Failure

SHARES = Space(
    (
        "task=rte",
        *(Dimension(f"prune.{name}", "interval(0.1,0.7)", even_grid(0.1, 0.7), True) for name in ("attn", "ffn")),
    )
)
BUDGET = Goal("blocks", "blocks", 0.6)
OPTIMUM = 0.8613
"""The best score of `formula` with 60 % of the blocks: at attn 0.13, ffn 0.58, by Lagrange's multiplier."""


def value_of(words: Iterable[str], key: str, default: float = 0.0) -> float:
    return next((float(word.split("=", 1)[1]) for word in words if word.startswith(f"{key}=")), default)


def record_of(score: float, blocks: float, seconds: float = 10.0, words: Iterable[str] = ()) -> RunRecord:
    """A finished run."""
    return RunRecord(
        status="finished",
        words=list(words),
        primary_metric="accuracy",
        score=score,
        parameters={"blocks_before": 1_000_000, "blocks_after": round(1_000_000 * blocks)},
        phases={"train": {"examples": 1000, "seconds": seconds / 2}},
        totals={"seconds": seconds, "peak_memory_bytes": round(2**30 * blocks)},
    )


def formula(words: Iterable[str]) -> RunRecord:
    """Heads cost more score than neurons, and neurons bring more."""
    words = list(words)
    attn, ffn = value_of(words, "prune.attn"), value_of(words, "prune.ffn")
    return record_of(0.9 - 0.3 * attn**2 - 0.1 * ffn**2, 1 - 0.4 * attn - 0.6 * ffn, words=words)


class Runs:
    """Runs cells by a formula and remembers them; a cell is run once, as a folder would have it."""

    def __init__(self, of: Callable[[Iterable[str]], RunRecord | Failure] = formula) -> None:
        self.of, self.made = of, dict[tuple[str, ...], RunRecord | Failure]()

    def __call__(self, words: tuple[str, ...]) -> RunRecord | Failure:
        if not isinstance(self.made.get(words), RunRecord):
            self.made[words] = self.of(words)
        return self.made[words]


def searched(
    count: int, runs: Runs, kind: str = "tpe", seed: int = 0, before: list[Trial] | None = None, goal: Goal = BUDGET
) -> list[Trial]:
    search = Search(SHARES, goal, (), runs)
    return search.go(Sampler(SHARES, goal, kind, seed), count, before or [], lambda trials: None)


def failure_of(words: Iterable[str]) -> Failure:
    return Failure(list(words), "out of memory\nmore of it", 1, 1)
