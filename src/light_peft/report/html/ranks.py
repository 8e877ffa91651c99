"""Which PEFT modules are left, and with how many ranks: kinds of module by layer."""

import re
from collections.abc import Iterable, Mapping
from statistics import fmean

from markupsafe import Markup

from light_peft.report.html.structure import layer_axis
from light_peft.report.html.svg import BOTTOM, TOP, Axis, Drawing, Look, Panel
from light_peft.report.results import Setting

LAYER = re.compile(r"(?:^|\.)(\d+)\.")
ROW, LEFT = 19, 104
ROOM_FOR_NUMBER = 15
"""Width of a square, in pixels, in which its number can be read."""

Square = tuple[str, int]
"""Kind of a module and its layer."""


def ranks_kept(setting: Setting, look: Look, everything: Iterable[str] = ()) -> Drawing | None:
    """Return the panel of one setting, means over its seeds; None where no PEFT module was removed or cut.

    Args:
        setting: Whose plans are drawn.
        look: Its colour.
        everything: Paths of all PEFT modules that were there before, as far as known.
    """
    plans = [record.plan for record in setting.records if record.plan.get("modules_before")]
    if not plans or all(sum(plan["ranks"].values()) == plan["ranks_before"] for plan in plans):
        return None
    found = [{square: rank for path, rank in plan["ranks"].items() if (square := _square(path))} for plan in plans]
    squares = sorted({*(square for each in found for square in each), *filter(None, map(_square, everything))})
    if not squares:
        return None
    mean = {square: fmean(each.get(square, 0) for each in found) for square in squares}
    before = plans[0]["ranks_before"] / plans[0]["modules_before"]
    left = fmean(len(plan["ranks"]) for plan in plans)
    ranks = fmean(sum(plan["ranks"].values()) for plan in plans)
    note = f"{left:.3g} of {plans[0]['modules_before']} modules, {ranks:.3g} of {plans[0]['ranks_before']} ranks kept"
    layers = max(len(plans[0].get("heads_before", ())), *(layer + 1 for _, layer in squares))
    return Drawing(setting.name, _heat_map(mean, max(before, *mean.values()), layers, look), note, look)


def _heat_map(mean: Mapping[Square, float], most: float, layers: int, look: Look) -> Markup:
    kinds = list(dict.fromkeys(kind for kind, _ in mean))
    names = short_names(kinds)
    height = TOP + BOTTOM + ROW * len(kinds)
    panel = Panel(layer_axis(layers), Axis(0, len(kinds)), "ranks kept of each PEFT module", left=LEFT, height=height)
    wide = panel.width / layers
    for row, kind in enumerate(kinds):
        top = TOP + ROW * row
        panel.text((LEFT - 6, top + ROW - 6), names[kind], "end")
        for layer in range(layers):
            rank = mean.get((kind, layer))
            if rank is None:
                continue
            place, size = (panel.x_of(layer) - wide / 2 + 1, top + 1), (wide - 2, ROW - 2)
            told = f"{kind}, layer {layer}: {rank:.3g} of {most:.3g} ranks kept" if rank else f"{kind}, layer {layer}"
            panel.box(place, size, "ghost", told)
            if rank:
                element = '<rect x="{:.1f}" y="{}" width="{:.1f}" height="{}" class="bar {}" fill-opacity="{:.2f}"/>'
                panel.add(element, place[0], place[1], *size, look.css, 0.15 + 0.85 * rank / most)
            if rank and wide >= ROOM_FOR_NUMBER:
                css = "mid inside" if rank > most / 2 else "mid strong"
                panel.text((panel.x_of(layer), top + ROW - 6), f"{rank:.2g}", css)
    return panel.svg()


def short_names(kinds: Iterable[str]) -> dict[str, str]:
    """Return for every kind of module the shortest end of its name that no other one has."""
    plain = {kind: re.sub(r"(?<=.)\.dense$", "", kind).split(".") for kind in kinds}
    names = {}
    for kind, parts in plain.items():
        others = [other for name, other in plain.items() if name != kind]
        taken = (parts[-size:] for size in range(1, len(parts) + 1))
        unique = (end for end in taken if all(other[-len(end) :] != end for other in others))
        names[kind] = ".".join(next(unique, parts))
    return names


def _square(path: str) -> Square | None:
    """Return where a module is: its path behind the number of its layer, and that number; None outside layers."""
    found = LAYER.search(path)
    return (path[found.end() :], int(found[1])) if found else None
