"""Curves over optimizer steps: loss, score, and how much the decision still changed while it was made."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean

from light_peft.artifacts import RunRecord
from light_peft.report.html.svg import Axis, Drawing, Look, Panel, Point
from light_peft.report.results import Setting

MOST_POINTS = 140
"""Points of a curve; a longer one shows means of as many parts."""
AGREEMENT = {"attn": ("heads", Look("s0", 0)), "ffn": ("neurons", Look("s1", 1)), "rank": ("ranks", Look("s2", 2))}
"""What is compared from check to check: its name, and its look in every panel."""

Curve = list[Point]


def loss_curves(settings: Sequence[Setting], looks: Mapping[str, Look]) -> Drawing | None:
    """Return the loss of each setting over estimation and training in one panel, means over its seeds."""
    curves = {setting.name: mean_curve([_losses(record) for record in setting.records]) for setting in settings}
    drawing = _draw(settings, {name: thinned(curve) for name, curve in curves.items()}, looks, "loss")
    return drawing._replace(title="Loss") if drawing else None


def score_curves(settings: Sequence[Setting], looks: Mapping[str, Look]) -> Drawing | None:
    """Return the score of each setting after each epoch in one panel, means over its seeds."""
    curves = {setting.name: mean_curve([_scores(record) for record in setting.records]) for setting in settings}
    metric = next((setting.metric for setting in settings if setting.records), "score")
    drawing = _draw(settings, curves, looks, f"{metric} × 100", dots=True)
    return drawing._replace(title="Score") if drawing else None


def agreement(setting: Setting, look: Look) -> Drawing | None:
    """Return how alike successive decisions of the estimation phase were, means over the seeds; None if not known."""
    found = {kind: mean_curve([_agreements(record, kind) for record in setting.records]) for kind in AGREEMENT}
    curves = {kind: curve for kind, curve in found.items() if len(curve) > 1}
    if not curves:
        return None
    points = [point for curve in curves.values() for point in curve]
    x = Axis.over([x for x, _ in points], "step of the estimation")
    y = Axis.over([*(y for _, y in points), 1.0], "Jaccard index")
    panel = Panel(x, y, f"agreement of successive decisions, {setting.name}")
    for kind, curve in curves.items():
        css = AGREEMENT[kind][1]
        panel.line(thinned(curve), f"{css.css} {css.dash}")
    return Drawing(setting.name, panel.svg(), look=look)


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """Return the mean of curves where all that exist have a point."""
    there = [dict(curve) for curve in curves if curve]
    shared = sorted(set.intersection(*(set(curve) for curve in there))) if there else []
    return [(x, fmean(curve[x] for curve in there)) for x in shared]


def thinned(curve: Curve, most: int = MOST_POINTS) -> Curve:
    """Return a curve of at most `most` points, each the mean of a part of it, but with the first and last as found."""
    if len(curve) <= most:
        return curve
    inner = curve[1:-1]
    bounds = [round(part * len(inner) / (most - 2)) for part in range(most - 1)]
    parts = [inner[low:high] for low, high in pairwise(bounds)]
    return [curve[0], *((fmean(x for x, _ in part), fmean(y for _, y in part)) for part in parts), curve[-1]]


def _draw(
    settings: Sequence[Setting],
    curves: Mapping[str, Curve],
    looks: Mapping[str, Look],
    label: str,
    *,
    dots: bool = False,
) -> Drawing | None:
    points = [point for curve in curves.values() for point in curve]
    if len({x for x, _ in points}) < 2:
        return None
    panel = Panel(
        Axis.over([x for x, _ in points], "optimizer step", from_zero=True),
        Axis.over([y for _, y in points], label),
        label,
    )
    boundaries = {estimation_steps(record) for setting in settings for record in setting.records} - {0}
    for step in sorted(boundaries):
        panel.upright(step)
    for name, curve in curves.items():
        look = looks[name]
        if curve:
            panel.line(curve, f"{look.css} {look.dash}")
        for point in curve if dots or len(curve) == 1 else ():
            panel.dot(point, look, f"{name}: {point[1]:.4g} after step {point[0]:g}", "small")
    return Drawing("", panel.svg(), "Dashed upright: the cut, behind the estimation." if boundaries else "")


def estimation_steps(record: RunRecord) -> int:
    """Return the optimizer steps that a run's estimation took; 0 without one."""
    counted = record.phases.get("estimate", {}).get("steps") or 0
    return max([counted, *(entry["step"] for entry in record.history if entry.get("phase") == "estimate")])


def _losses(record: RunRecord) -> Curve:
    behind = {"estimate": 0, "train": estimation_steps(record)}
    return [
        (float(behind[entry["phase"]] + entry["step"]), float(entry["loss"]))
        for entry in record.history
        if "loss" in entry and entry.get("phase") in behind
    ]


def _scores(record: RunRecord) -> Curve:
    behind, metric = estimation_steps(record), record.primary_metric
    return [
        (float(behind + entry["step"]), 100 * float(entry[metric]))
        for entry in record.history
        if entry.get("phase") == "evaluate" and metric in entry
    ]


def _agreements(record: RunRecord, kind: str) -> Curve:
    checks = [entry for entry in record.history if kind in entry.get("agreement", {})]
    return [(float(entry["step"]), float(entry["agreement"][kind])) for entry in checks]
