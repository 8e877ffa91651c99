"""How the importance of what could be cut is distributed, and where the cut went through."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from light_peft.artifacts import PLAN, SCORES, RunRecord, read_json, read_tensors
from light_peft.pruning.plan import PruningPlan
from light_peft.pruning.scores import Scores
from light_peft.report.html.svg import TOP, Axis, Drawing, Look, Panel

BINS = 36
ROUNDING = 0.03
"""Share of a pool that rounding of widths may have moved across the cut."""
WIDE_RANGE = 6.0
"""Where the upper end of the bulk is so many times its lower end, the axis is logarithmic."""


class Pool(NamedTuple):
    """Importance of everything of one kind, and which of it stayed."""

    title: str
    measure: str
    values: np.ndarray
    kept: np.ndarray


def read_decision(folder: Path | None) -> tuple[Scores, PruningPlan] | None:
    """Return what a run measured and decided; None if it left nothing of it, or what is there cannot be read."""
    if folder is None or not (folder / SCORES).exists():
        return None
    try:
        return Scores.from_tensors(read_tensors(folder / SCORES)), PruningPlan.from_json(read_json(folder / PLAN))
    except (ValueError, KeyError, TypeError, AssertionError):
        return None


def importance(scores: Scores, plan: PruningPlan, record: RunRecord, look: Look) -> list[Drawing]:
    """Return a panel each of heads, neurons, PEFT modules and ranks, where there are some."""
    pools = pools_of(scores, plan, record)
    return [_histogram(pool, look) for pool in pools if len(pool.values) > 1 and np.ptp(pool.values) > 0]


def pools_of(scores: Scores, plan: PruningPlan, record: RunRecord) -> tuple[Pool, ...]:
    """Return what was measured of heads, neurons, PEFT modules, and of the ranks of those that stay."""
    prune, estimate = record.config.get("prune", {}), record.config.get("estimate", {})
    criterion, of_rank = prune.get("criterion", "mask"), estimate.get("rank_score", "taylor")
    modules = list(scores.modules)
    staying = [name for name in modules if name in plan.ranks]
    ranks = _pooled((scores.ranks[name].numpy() for name in staying), (plan.ranks[name] for name in staying))
    values = np.array([scores.modules[name] for name in modules])
    stays = np.array([name in plan.ranks for name in modules], dtype=bool)
    return (
        Pool("Attention heads", f"importance ({criterion})", *_pooled((v.numpy() for v in scores.attn), plan.heads)),
        Pool("FFN neurons", f"importance ({criterion})", *_pooled((v.numpy() for v in scores.ffn), plan.neurons)),
        Pool("PEFT modules", "importance ratio", values, stays),
        Pool("Ranks of the modules that stay", f"importance ({of_rank})", *ranks),
    )


def cut_range(pool: Pool) -> tuple[float, float] | None:
    """Return the range of importance in which some were cut and some stayed; None if all went one way.

    Where one threshold was held against all, it has no width: it is the middle between the highest importance of what
    was cut and the lowest of what stayed. A few that rounding has moved to the other side do not count.
    """
    if pool.kept.all() or not pool.kept.any():
        return None
    highest_cut, lowest_kept = float(pool.values[~pool.kept].max()), float(pool.values[pool.kept].min())
    mixed = np.mean((pool.values >= lowest_kept) & (pool.values <= highest_cut))
    middle = (highest_cut + lowest_kept) / 2
    return (middle, middle) if highest_cut <= lowest_kept or mixed <= ROUNDING else (lowest_kept, highest_cut)


def _pooled(vectors: Iterable[np.ndarray], kept: Iterable[tuple[int, ...]]) -> tuple[np.ndarray, np.ndarray]:
    values, stays = [np.zeros(0)], [np.zeros(0, dtype=bool)]
    for vector, indices in zip(vectors, kept, strict=True):
        values.append(vector.astype(np.float64))
        stays.append(np.isin(np.arange(len(vector)), indices))
    return np.concatenate(values), np.concatenate(stays)


def _histogram(pool: Pool, look: Look) -> Drawing:
    low, high = np.quantile(pool.values, [0.02, 0.98])
    is_log = bool(low > 0 and high / low > WIDE_RANGE)
    values = np.maximum(pool.values, low / 100) if is_log else pool.values  # the few far below stand at the edge
    x = Axis.over(values.tolist(), pool.measure, is_log=is_log)
    edges = np.geomspace(x.low, x.high, BINS + 1) if is_log else np.linspace(x.low, x.high, BINS + 1)
    every, stays = np.histogram(values, edges)[0], np.histogram(values[pool.kept], edges)[0]
    panel = Panel(x, Axis.over([float(every.max())], "count", from_zero=True), f"{pool.title}: importance and the cut")
    bounds = cut_range(pool)
    if bounds is not None and bounds[0] < bounds[1]:
        left, right = map(panel.x_of, bounds)
        panel.box((left, TOP), (right - left, 3), "band", "here some were cut and some stayed")
    for counts, css in ((every, "gone"), (stays, f"bar {look.css}")):
        panel.add('<path class="{}" d="{}"/>', css, "".join(_steps(panel, edges, counts)))
    if bounds is not None and bounds[0] == bounds[1]:
        panel.upright(bounds[0])
    return Drawing(pool.title, panel.svg(), f"{pool.kept.sum():,} of {len(pool.kept):,} stay")


def _steps(panel: Panel, edges: np.ndarray, counts: np.ndarray) -> Iterator[str]:
    yield f"M{panel.x_of(edges[0])} {panel.y_of(0)}"
    for right, count in zip(edges[1:], counts, strict=True):
        yield f"V{panel.y_of(count)}H{panel.x_of(right)}"
    yield f"V{panel.y_of(0)}Z"
