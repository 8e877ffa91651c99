"""How far from a known optimum each sampler of `python -m light_peft.search` ends, on formulas instead of runs.

    python scripts/bench_search.py

Score and blocks are formulas of the shares; the best score with 60 % of the blocks is known by Lagrange's multiplier.
With noise, what counts is the true score of the setting that looked best. Prints a Markdown table, in points of score.
"""

import random
import statistics
from collections.abc import Iterable

from light_peft.artifacts import RunRecord
from light_peft.search.goal import Goal
from light_peft.search.loop import Search
from light_peft.search.sampler import Sampler
from light_peft.search.space import Dimension, Space, even_grid
from light_peft.search.trials import standing

SHARES = tuple(Dimension(f"prune.{name}", "", even_grid(0.1, 0.7), is_ordered=True) for name in ("attn", "ffn"))
MODULES = Dimension("prune.peft_module", "", tuple(index / 10 for index in range(9)), is_ordered=True)
CRITERIA = Dimension("prune.criterion", "", ("taylor", "mask", "fisher"), is_ordered=False)
SPACES = {"two shares": Space(SHARES), "four ranges": Space((*SHARES, MODULES, CRITERIA))}
BUDGET = Goal("blocks", "blocks", 0.6)
OPTIMUM = 0.9 - 0.3 * (2 / 3 * 0.4 / (0.8 / 3 + 1.8)) ** 2 - 0.1 * (3 * 0.4 / (0.8 / 3 + 1.8)) ** 2
SEARCHES = {"random": 30, "tpe": 30, "gp": 3}


def true_score(words: Iterable[str]) -> tuple[float, float]:
    """Return score and blocks of a setting."""
    values = dict(word.split("=", 1) for word in words)
    attn, ffn = float(values["prune.attn"]), float(values["prune.ffn"])
    score = 0.9 - 0.3 * attn**2 - 0.1 * ffn**2 - 0.05 * (float(values.get("prune.peft_module", 0.5)) - 0.5) ** 2
    return score - (
        0.0 if values.get("prune.criterion", "taylor") == "taylor" else 0.02 * ffn
    ), 1 - 0.4 * attn - 0.6 * ffn


def distance(space: Space, kind: str, count: int, noise: float, seed: int) -> float:
    """Return by how much the true score of the best setting of a search misses the optimum."""
    draw = random.Random(seed)

    def run(words: tuple[str, ...]) -> RunRecord:
        score, blocks = true_score(words)
        return RunRecord(
            score=score + draw.gauss(0, noise),
            parameters={"blocks_before": 10**6, "blocks_after": round(10**6 * blocks)},
            totals={"seconds": 1.0},
        )

    trials = Search(space, BUDGET, (), run).go(Sampler(space, BUDGET, kind, seed), count, [], lambda trials: None)
    best, _ = standing(trials)
    return OPTIMUM - (true_score(space.words(trials[best].params))[0] if best is not None else 0.0)


def main() -> None:
    print("| trials | " + " | ".join(SEARCHES) + " |\n|" + "---|" * (1 + len(SEARCHES)))
    for name, space in SPACES.items():
        for noise in (0.0, 0.01):
            for count in (12, 25):
                row = [
                    statistics.mean(100 * distance(space, kind, count, noise, seed) for seed in range(searches))
                    for kind, searches in SEARCHES.items()
                ]
                means = " | ".join(f"{value:.2f}" for value in row)
                print(f"| {count}, {name}{', noise' if noise else ''} | {means} |", flush=True)


if __name__ == "__main__":
    main()
