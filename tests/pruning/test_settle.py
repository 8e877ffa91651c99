"""Estimation that stops itself: means over stretches, agreement, and when it is enough."""

from typing import Any

import pytest
import torch

from light_peft.config import EstimateConfig
from light_peft.pruning.averages import WindowMean
from light_peft.pruning.plan import PruneRule, PruningPlan, make_plan
from light_peft.pruning.scores import Scores
from light_peft.pruning.settle import Settlement


class FakeRecorder:
    """Gives the scores it is told to."""

    def __init__(self) -> None:
        self.means = WindowMean(0, 1.0)
        self.current = Scores((torch.rand(4),), (torch.rand(20),))

    def scores(self) -> Scores:
        return self.current


def settlement(recorder: FakeRecorder, **settings: Any) -> Settlement:
    config = EstimateConfig(stop="settled", check_every=2, patience=2, **settings)
    fake: Any = recorder
    return Settlement(fake, lambda scores: make_plan(scores, PruneRule(attn=0.25, ffn=0.5)), config)


def test_it_stops_after_as_many_agreeing_checks_as_asked_for() -> None:
    recorder = FakeRecorder()
    recorder.means.add(0, {"x": torch.ones(1)})
    watch = settlement(recorder)
    settled = []
    for step in range(8):
        watch.after_step(step)
        settled.append(watch.is_settled)
    assert settled == [False] * 5 + [True] * 3, "checks after steps 2, 4 and 6; the latter two agree"
    assert [entry["step"] for entry in watch.history] == [4, 6, 8]
    assert watch.history[0]["agreement"] == {"attn": 1.0, "ffn": 1.0}


def test_a_decision_that_changes_starts_the_count_anew() -> None:
    recorder = FakeRecorder()
    recorder.means.add(0, {"x": torch.ones(1)})
    watch = settlement(recorder)
    for step in range(12):
        if step == 4:
            recorder.current = Scores((torch.arange(4.0),), (-recorder.current.ffn[0],))
        watch.after_step(step)
        assert watch.is_settled == (step >= 9)


def test_it_never_stops_where_a_number_of_steps_was_asked_for_and_waits_for_the_first_scores() -> None:
    recorder = FakeRecorder()
    fake: Any = recorder
    watch = Settlement(fake, lambda scores: make_plan(scores, PruneRule()), EstimateConfig(check_every=1))
    watch.after_step(0)
    assert watch.history == []
    recorder.means.add(0, {"x": torch.ones(1)})
    for step in range(20):
        watch.after_step(step)
    assert len(watch.history) == 19
    assert not watch.is_settled


def test_scores_that_would_empty_a_layer_do_not_stop_the_phase() -> None:
    recorder = FakeRecorder()
    recorder.means.add(0, {"x": torch.ones(1)})
    fake: Any = recorder
    rule = PruneRule(attn=0.5, threshold="quantile")
    watch = Settlement(fake, lambda scores: make_plan(scores, rule), EstimateConfig(check_every=1))
    recorder.current = Scores((torch.ones(4),), (torch.rand(20),))
    watch.after_step(0)
    watch.after_step(1)
    assert watch.history == []


def test_agreement_is_the_jaccard_index_of_what_stays() -> None:
    one = PruningPlan(((0, 1), (0,)), ((0,), (1,)), {"m": (0, 1)}, (4, 4), (2, 2))
    other = PruningPlan(((0, 2), (0,)), ((0,), (1,)), {"m": (1,), "n": (0,)}, (4, 4), (2, 2))
    assert one.agreement(other) == pytest.approx({"attn": 2 / 4, "ffn": 1.0, "rank": 1 / 3})


def test_a_window_of_known_length_is_the_mean_of_its_steps() -> None:
    mean = WindowMean(2, 0.5)
    for step in range(4):
        if mean.counts(step):
            mean.add(step, {"x": torch.tensor([float(step), float("nan")])})
    assert mean.mean()["x"].tolist() == [2.5, 0.0]


def test_a_window_of_unknown_length_is_the_last_stretches() -> None:
    mean = WindowMean(0, 0.5, stretch=2)
    assert mean.is_empty
    assert mean.mean() == {}
    for step in range(7):
        mean.add(step, {"x": torch.tensor([float(step)])})
    assert mean.mean()["x"].tolist() == [5.0], "stretches 01 23 45 6: the last half is steps 4, 5 and 6"
