"""The search on formulas: it finds a known optimum, keeps to the budget, goes on where it was, lives with failures."""

import statistics
from collections.abc import Iterable

import pytest
from search_cases import BUDGET, OPTIMUM, SHARES, Runs, failure_of, formula, record_of, searched, value_of

from light_peft.artifacts import RunRecord
from light_peft.search.goal import Goal
from light_peft.search.loop import Search
from light_peft.search.sampler import SAMPLERS, Sampler
from light_peft.search.trials import Trial, standing
from light_peft.sweeps.cells import Failure

pytest.importorskip("optuna")


def best_score(trials: list[Trial]) -> float:
    best, _ = standing(trials)
    return trials[best].score or 0.0 if best is not None else 0.0


def test_it_finds_the_optimum_within_the_budget() -> None:
    trials = searched(10, Runs(), "gp")
    best, _ = standing(trials)
    assert best is not None
    assert trials[best].costs["blocks"] <= 0.6
    assert OPTIMUM - 0.002 <= best_score(trials) <= OPTIMUM


def test_it_is_better_than_chance() -> None:
    found = {kind: [best_score(searched(20, Runs(), kind, seed)) for seed in range(10)] for kind in ("tpe", "random")}
    assert statistics.mean(found["tpe"]) > statistics.mean(found["random"]) + 0.003


def test_without_a_budget_both_ends_are_sought() -> None:
    """The front spreads: the dearest of it keep most blocks, the cheapest few."""
    trials = searched(20, Runs(), "tpe", goal=Goal("blocks"))
    _, front = standing(trials)
    costs = [trials[number].cost or 0.0 for number in front]
    assert len(front) >= 5
    assert costs[0] < 0.5
    assert costs[-1] > 0.75
    assert all(trial.within_budget for trial in trials)


def test_what_was_asked_is_what_was_run() -> None:
    runs = Runs()
    trials = searched(12, runs)
    assert [trial.number for trial in trials] == list(range(12))
    for trial in trials:
        words = ("task=rte", *(f"{key}={value}" for key, value in trial.params.items()))
        record = runs.made[words]
        assert isinstance(record, RunRecord)
        blocks = record.parameters["blocks_after"] / record.parameters["blocks_before"]
        assert (trial.score, trial.cost) == (record.score, pytest.approx(blocks))
        assert trial.within_budget == (blocks <= 0.6)


@pytest.mark.parametrize(("kind", "after"), [*((kind, 6) for kind in SAMPLERS), ("tpe", 1)])
def test_one_that_goes_on_tries_the_same(kind: str, after: int) -> None:
    whole, runs = searched(8, Runs(), kind), Runs()
    first = searched(after, runs, kind)
    made = dict(runs.made)
    again = searched(8, runs, kind, before=first)
    assert again == whole
    assert {words: runs.made[words] for words in made} == made


def test_what_was_tried_before_stays_whatever_the_sampler_would_say() -> None:
    """Another version of Optuna, say; its place is kept, and it counts."""
    runs = Runs()
    first = searched(6, runs, seed=1)
    again = searched(10, runs, seed=2, before=first)
    assert again[:6] == first
    assert len(again) == 10
    assert len(runs.made) <= 10


def test_fewer_trials_than_there_are_forget_none() -> None:
    first = searched(5, Runs())
    assert searched(3, Runs(), before=first) == first


def test_a_failed_trial_is_told_and_the_search_goes_on() -> None:
    def some_fail(words: Iterable[str]) -> RunRecord | Failure:
        return failure_of(words) if value_of(words, "prune.attn") > 0.4 else formula(words)

    runs = Runs(some_fail)
    trials = searched(20, runs)
    failed = [trial for trial in trials if trial.status == "failed"]
    assert 0 < len(failed) < 20
    assert all(trial.params["prune.attn"] > 0.4 for trial in failed)
    assert {(trial.score, trial.error, trial.code, trial.within_budget) for trial in failed} == {
        (None, "out of memory", 1, False)
    }
    runs.of = formula  # memory was bought: what had failed is run again, at the same places
    again = searched(20, runs, before=trials)
    assert [trial.params for trial in again] == [trial.params for trial in trials]
    assert all(trial.status == "finished" for trial in again)


def test_several_seeds_count_by_their_mean() -> None:
    def by_seed(words: Iterable[str]) -> RunRecord:
        seed, words = value_of(words, "seed"), list(words)
        return record_of(0.5 + seed / 10, 0.5, seconds=seed, words=words)

    search = Search(SHARES, BUDGET, (1, 2, 3), Runs(by_seed))
    (trial,) = search.go(Sampler(SHARES, BUDGET, "random", 0), 1, [], lambda trials: None)
    assert len(set(trial.keys)) == 3
    assert (trial.score, trial.seconds) == (pytest.approx(0.7), pytest.approx(6.0))


def test_one_seed_that_fails_fails_the_trial() -> None:
    runs = Runs(lambda words: failure_of(words) if value_of(words, "seed") == 2 else formula(words))
    search = Search(SHARES, BUDGET, (1, 2, 3), runs)
    (trial,) = search.go(Sampler(SHARES, BUDGET, "random", 0), 1, [], lambda trials: None)
    assert (trial.status, trial.score) == ("failed", None)
    assert [value_of(words, "seed") for words in runs.made] == [1, 2]


def test_plain_peft_is_run_first_where_costs_are_relative_to_it() -> None:
    def timed(words: Iterable[str]) -> RunRecord:
        words = list(words)
        plain = record_of(0.9, 1.0, seconds=100.0, words=words)
        return plain if "prune=none" in words else record_of(0.8, 0.5, seconds=40.0, words=words)

    goal, runs = Goal("seconds", "step", 0.3), Runs(timed)
    trials = searched(2, runs, goal=goal)
    assert next(iter(runs.made)) == ("task=rte", "prune=none")
    assert trials[0].costs == {"seconds": pytest.approx(0.4), "step": pytest.approx(0.4)}
    assert not trials[0].within_budget
    assert not any("prune=none" in words for words in list(runs.made)[1:])


def test_without_plain_peft_there_is_nothing_to_be_relative_to() -> None:
    with pytest.raises(ValueError, match="plain PEFT, which memory is relative to, has failed: out of memory"):
        searched(2, Runs(failure_of), goal=Goal("memory"))
