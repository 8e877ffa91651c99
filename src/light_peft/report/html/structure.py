"""What is left of every layer: attention heads and FFN neurons, with what was there before behind them."""

from collections.abc import Sequence
from statistics import fmean

from light_peft.report.html.svg import TOP, Axis, Drawing, Look, Panel
from light_peft.report.results import Setting

KINDS = {"heads": "attention heads", "ffn": "FFN neurons"}
"""Field of a record's plan, and what it counts."""


def layers_kept(setting: Setting, look: Look, field: str) -> Drawing | None:
    """Return the panel of one setting: the mean over seeds as bars, each seed as a mark; None if nothing was cut."""
    plans = [record.plan for record in setting.records if record.plan.get(f"{field}_before")]
    before = plans[0][f"{field}_before"] if plans else []
    kept = [plan[field] for plan in plans if plan[f"{field}_before"] == before]
    if not kept or all(layers == before for layers in kept):
        return None
    share = sum(map(sum, kept)) / (len(kept) * sum(before))
    what = KINDS[field]
    panel = Panel(layer_axis(len(before)), Axis.over(before, what, from_zero=True), f"{what} kept in each layer")
    _draw(panel, before, kept, look)
    return Drawing(setting.name, panel.svg(), f"{share:.0%} of {sum(before):,} {what} kept", look)


def layer_axis(layers: int) -> Axis:
    """Return a horizontal axis with a place for each layer."""
    every = next(step for step in (1, 2, 4, 5, 10, 20, layers) if layers / step <= 12)
    return Axis(-0.5, layers - 0.5, "layer", tuple(float(layer) for layer in range(0, layers, every)))


def _draw(panel: Panel, before: Sequence[int], kept: Sequence[Sequence[int]], look: Look) -> None:
    bottom, wide = TOP + panel.depth, min(0.74 * panel.width / len(before), 34.0)
    for layer, there in enumerate(before):
        left = panel.x_of(layer) - wide / 2
        panel.box((left, panel.y_of(there)), (wide, bottom - panel.y_of(there)), "ghost")
        values = [layers[layer] for layers in kept]
        top = panel.y_of(fmean(values))
        told = f"layer {layer}: {fmean(values):,.4g} of {there:,} kept"
        panel.box((left, top), (wide, bottom - top), f"bar {look.css}", told)
        if len(values) > 1:
            for value in sorted(set(values)):
                panel.add('<path class="seed" d="M{} {}h{}"/>', round(left, 1), panel.y_of(value), round(wide, 1))
