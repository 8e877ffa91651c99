"""Figures: what is drawn is what the records say."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from html_cases import LAYERS, MODULES, RULE, make_history, make_scores
from hypothesis import given
from hypothesis import strategies as st
from report_cases import make_cell, make_record

from light_peft.pruning.plan import keep_all, make_plan
from light_peft.report.html import curves, distributions, fronts, ranks, structure
from light_peft.report.html.beside import scale_of
from light_peft.report.html.costs import bars_of
from light_peft.report.html.entries import difference, signed
from light_peft.report.html.svg import Axis, Look, Panel, number
from light_peft.report.results import Setting, settings_of
from light_peft.report.statistics import compare_pairs

LOOK = Look("s0", 1)
FINITE = st.floats(-1e6, 1e6)


def setting_of(*plans: dict[str, object], **values: object) -> Setting:
    """One setting whose runs have these plans."""
    records = [make_record(seed=seed, **values) for seed in range(len(plans))]  # type: ignore[arg-type]
    for record, plan in zip(records, plans, strict=True):
        record.plan = plan
    return settings_of([make_cell(record) for record in records])[0]


@given(st.lists(FINITE, min_size=1, max_size=20), st.booleans())
def test_an_axis_has_room_for_all_values_and_ticks_inside(values: list[float], from_zero: bool) -> None:
    axis = Axis.over(values, from_zero=from_zero)
    assert all(0 <= axis.share(value) <= 1 for value in values)
    assert len(axis.ticks) >= 2
    assert all(axis.low <= tick <= axis.high for tick in axis.ticks)
    assert not from_zero or axis.low <= 0


@given(st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=20))
def test_a_logarithmic_axis_places_by_ratio(values: list[float]) -> None:
    axis = Axis.over(values, is_log=True)
    assert axis.share(math.sqrt(axis.low * axis.high)) == pytest.approx(0.5)
    assert all(0 <= axis.share(value) <= 1 for value in values)
    assert len(axis.ticks) <= 5


def test_what_is_written_into_a_panel_is_escaped() -> None:
    panel = Panel(Axis.over([0.0, 1.0], "<x>"), Axis.over([0.0, 1.0]), '"><script>')
    panel.dot((0.5, 0.5), LOOK, "<b>")
    svg = panel.svg()
    assert not re.search(r"<(x|b|script)>", svg)
    assert "&lt;x&gt;" in svg
    assert "&lt;b&gt;" in svg


def test_numbers_of_axes() -> None:
    assert [number(x) for x in (0.0, -2.5, 0.25, 12.0, 1500.0, 20_000.0, 3e6, 2e-7)] == [
        *("0", "−2.5", "0.25", "12", "1,500", "20k", "3M", "2e−7"),
    ]


@given(st.dictionaries(st.text("abcd", min_size=1, max_size=3), st.tuples(FINITE, FINITE), min_size=1), st.booleans())
def test_the_front_is_what_nobody_beats(points: dict[str, tuple[float, float]], more: bool) -> None:
    front = fronts.front_of(points, more_x_is_better=more)
    for name, (x, y) in points.items():
        beaten = False
        for u, v in points.values():
            as_good = (u >= x if more else u <= x) and v >= y
            beaten |= as_good and (u != x or v != y)
        assert (name in front) != beaten
    assert [points[name][0] for name in front] == sorted(points[name][0] for name in front)


@given(st.lists(FINITE, min_size=1, max_size=600))
def test_a_long_curve_is_thinned_between_its_ends(values: list[float]) -> None:
    curve = [(float(step), value) for step, value in enumerate(values)]
    thin = curves.thinned(curve, 50)
    assert len(thin) == min(50, len(curve))
    assert (thin[0], thin[-1]) == (curve[0], curve[-1])
    assert [x for x, _ in thin] == sorted(x for x, _ in thin)
    assert min(values) <= min(y for _, y in thin) + 1e-6
    assert max(y for _, y in thin) <= max(values) + 1e-6


def test_the_mean_of_curves_is_where_all_have_a_point() -> None:
    assert curves.mean_curve([[(1, 2.0), (2, 4.0)], [(2, 6.0), (3, 8.0)], []]) == [(2, 5.0)]
    assert curves.mean_curve([[], []]) == []


def test_training_comes_behind_estimation() -> None:
    record = make_record()
    record.history = make_history(50)
    assert curves.estimation_steps(record) == 50
    losses, scores = curves._losses(record), curves._scores(record)
    assert [x for x, _ in losses] == [10, 20, 30, 40, 50, 60, 70, 80]
    assert scores == [(65, 30.0), (80, 60.0)]
    agreed = curves._agreements(record, "ffn")
    assert agreed[-1] == (50, pytest.approx(50 / 60))


def heights(svg: str, css: str) -> list[float]:
    return [float(found) for found in re.findall(rf'height="([\d.]+)" class="{css}"', svg)]


def test_bars_are_as_high_as_what_is_kept() -> None:
    setting = setting_of({"heads": [4, 2], "heads_before": [8, 8]}, {"heads": [4, 4], "heads_before": [8, 8]})
    drawing = structure.layers_kept(setting, LOOK, "heads")
    assert drawing is not None
    before, kept = heights(drawing.svg, "ghost"), heights(drawing.svg, "bar s0")
    assert [k / b for k, b in zip(kept, before, strict=True)] == pytest.approx([4 / 8, 3 / 8], abs=0.01)
    assert drawing.note == "44% of 16 attention heads kept"
    assert drawing.svg.count('class="seed"') == 1 + 2, "one mark for each value of a layer"


def test_nothing_is_drawn_of_layers_that_were_not_cut() -> None:
    plan = {"ffn": [8, 8], "ffn_before": [8, 8]}
    assert structure.layers_kept(setting_of(plan), LOOK, "ffn") is None
    assert structure.layers_kept(setting_of({}), LOOK, "ffn") is None


def test_squares_are_modules_that_were_there_and_numbers_the_mean_ranks() -> None:
    plans = [{"ranks": {MODULES[0]: 4}, "modules_before": 4, "ranks_before": 16}]
    plans += [{"ranks": {MODULES[0]: 2, MODULES[3]: 1}, "modules_before": 4, "ranks_before": 16}]
    drawing = ranks.ranks_kept(setting_of(*plans), LOOK, MODULES)
    assert drawing is not None
    assert drawing.svg.count('class="ghost"') == len(MODULES)
    assert re.findall(r'class="mid (?:inside|strong)">([\d.]+)<', drawing.svg) == ["3", "0.5"]
    assert drawing.note == "1.5 of 4 modules, 3.5 of 16 ranks kept"
    whole = {"ranks": dict.fromkeys(MODULES, 4), "modules_before": 4, "ranks_before": 16}
    assert ranks.ranks_kept(setting_of(whole), LOOK) is None


def test_modules_are_called_by_the_shortest_end_that_tells_them_apart() -> None:
    kinds = ["attention.self.query", "attention.output.dense", "intermediate.dense", "output.dense"]
    assert list(ranks.short_names(kinds).values()) == ["query", "attention.output", "intermediate", "output"]


def pool(values: list[float], kept: list[bool]) -> distributions.Pool:
    return distributions.Pool("", "", np.array(values), np.array(kept))


def test_the_cut_is_between_what_was_cut_and_what_stayed() -> None:
    assert distributions.cut_range(pool([1, 2, 3, 4], [False, False, True, True])) == (2.5, 2.5)
    assert distributions.cut_range(pool([1, 2, 3, 4], [False, True, False, True])) == (2, 3)
    assert distributions.cut_range(pool([1, 2], [True, True])) is None


def test_pools_hold_every_score_and_what_the_plan_kept() -> None:
    scores = make_scores(0)
    plan = make_plan(scores, RULE)
    pools = distributions.pools_of(scores, plan, make_record())
    assert [len(one.values) for one in pools] == [8, 32, 4, 8], "ranks of the two modules that stay"
    assert [int(one.kept.sum()) for one in pools] == [4, 24, 2, 6]
    neurons, modules = pools[1], pools[2]
    assert neurons.values[neurons.kept].min() >= neurons.values[~neurons.kept].max(), "one share over all layers"
    assert {name for name, stays in zip(scores.modules, modules.kept, strict=True) if stays} == set(plan.ranks)


def test_a_histogram_counts_everything() -> None:
    scores = replace(make_scores(0), ffn=(torch.arange(1.0, 17.0), torch.arange(17.0, 33.0)))
    everything = keep_all([4] * LAYERS, [16] * LAYERS, dict.fromkeys(MODULES, 4))
    drawings = distributions.importance(scores, everything, make_record(), LOOK)
    assert [drawing.title for drawing in drawings][:2] == ["Attention heads", "FFN neurons"]
    assert drawings[1].note == "32 of 32 stay"
    assert 'class="line cut"' not in drawings[1].svg, "nothing was cut"


def test_the_bars_of_phases_are_shares_of_the_longest_run() -> None:
    short, long = make_record(seconds=10.0, label="short"), make_record(seconds=20.0, label="long")
    bars = bars_of(settings_of([make_cell(short), make_cell(long, "seed=2")]))
    percents = {bar.setting.name: sum(share.percent for share in bar.shares) for bar in bars}
    assert percents == {"short": pytest.approx(50), "long": pytest.approx(100)}
    seconds = {share.phase: share.seconds for share in bars[0].shares}
    assert seconds == {"estimate": 1.0, "train": 5.0, "evaluate": 2.0}


def test_a_difference_is_drawn_to_scale() -> None:
    found = compare_pairs([3.0, 5.0, 4.0], [1.0, 1.0, 1.0])
    entry = difference(found, "#runs", scale_of([found]))
    assert entry.text == "+3.0"
    assert entry.whisker is not None
    span = (entry.whisker.high - 50) / (entry.whisker.middle - 50)
    assert span == pytest.approx(found.high / found.mean)
    alone = difference(compare_pairs([1.0], [1.0]), "#runs", 1.0)
    assert (alone.text, alone.note) == ("0.0", "one pair")
    assert signed(-0.04) == "0.0"
    assert signed(-1.25) == "−1.2"


def test_error_bars_are_one_standard_deviation_to_each_side() -> None:
    records = [make_record(seed=seed, score=score, label=name) for seed, score in ((1, 0.7), (2, 0.9)) for name in "ab"]
    settings = settings_of([make_cell(record, f"seed={i}") for i, record in enumerate(records)])
    spread = fronts.Spread.of([70.0, 90.0])
    assert (spread.mean, spread.deviation) == (80.0, pytest.approx(math.sqrt(200)))
    drawn = fronts.fronts(settings, {"a": LOOK, "b": LOOK})
    assert [one.title for one in drawn] == list(fronts.COSTS.values())
    assert drawn[0].svg.count("error") == 2, "one upright each; they do not differ in speed"
