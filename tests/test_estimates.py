"""Runs that differ only in what is cut share one estimation, and find what they would find by themselves."""

import threading
from pathlib import Path
from typing import Any

import pytest

from light_peft import artifacts, estimates
from light_peft.artifacts import RunRecord
from light_peft.opening import lock_folder
from run_cases import composed, left_behind, whole_run

MOMENTS = ("prune.refit=true", "prune.compensate_bias=true")


def found_by(folder: Path, *words: str) -> dict[str, Any]:
    """Return what a run in `folder` leaves, but for whom its estimation is by."""
    whole_run(folder, *words)
    left = left_behind(folder)
    del left["record"]["estimation"]
    left["record"]["history"] = [entry for entry in left["record"]["history"] if "agreement" not in entry]
    return left


def is_reused(folder: Path) -> bool:
    """Return whether the run in `folder` has taken its estimation from another."""
    return bool(RunRecord.read(folder).estimation["reused"])


@pytest.mark.parametrize("words", [("prune.criterion=mask",), MOMENTS])
def test_a_borrowed_estimation_is_ones_own(tmp_path: Path, words: tuple[str, ...]) -> None:
    shared = f"estimate.reuse={tmp_path / 'shared'}"
    first, second = tmp_path / "first", tmp_path / "second"
    whole_run(first, *words, shared, "prune.ffn=0.1")
    borrowed = found_by(
        second, *words, shared, "prune.ffn=0.5", "train.learning_rate=2e-3", "estimate.learning_rate=1e-3"
    )
    assert not is_reused(second), "another learning rate is another estimation"
    third = tmp_path / "third"
    borrowed = found_by(third, *words, shared, "prune.ffn=0.5", "prune.attn_scope=global")
    assert (is_reused(first), is_reused(third)) == (False, True)
    assert borrowed == found_by(tmp_path / "alone", *words, "prune.ffn=0.5", "prune.attn_scope=global")
    costs = [RunRecord.read(folder).phases["estimate"] for folder in (first, second)]
    assert costs[0] == costs[1], "what it would have cost counts"


def facts(*words: str) -> dict[str, Any]:
    """Return what the estimation of a run with these words depends on."""
    record = RunRecord(
        hardware={"gpu": "", "precision": "fp32", "processes": 1},
        versions={"torch": "2"},
        git={"commit": "abc", "dirty": False},
        base={"source": "random"},
        data={"digests": {"train": "1", "validation": "2"}},
    )
    config = composed("debug=smoke", *words)
    return estimates.depends_on(config, record, round(config.estimate.steps))


@pytest.mark.parametrize(
    "change",
    [
        "seed=7",
        "estimate.steps=4",
        "train.batch_size=8",
        "train.learning_rate=1e-4",
        "prune.criterion=fisher",
        "prune.refit=true",
        "data.max_train_samples=40",
        "peft.r=4",
        "estimate.micro_batches=2",
        "runtime.precision=bf16",
    ],
)
def test_what_an_estimation_depends_on_makes_another(change: str) -> None:
    assert facts(change) != facts()


@pytest.mark.parametrize(
    "change",
    [
        "prune.ffn=0.9",
        "prune.target.blocks=0.5",
        "prune.module_depth=1",
        "train.max_steps=77",
        "train.prefix_cache=eval",
        "save.model=false",
        "run_dir=elsewhere",
        "data.max_eval_samples=3",
        "runtime.threads=1",
    ],
)
def test_what_comes_behind_it_does_not(change: str) -> None:
    assert facts(change) == facts()


def test_one_that_ends_by_what_would_be_cut_depends_on_it() -> None:
    assert facts("estimate.stop=settled", "prune.ffn=0.9") != facts("estimate.stop=settled")


def test_the_rate_of_training_counts_where_estimation_has_none_of_its_own() -> None:
    own = "estimate.learning_rate=1e-3"
    assert facts(own, "train.learning_rate=1e-4") == facts(own)


def test_one_makes_it_while_the_other_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimates, "POLL_SECONDS", 0.01)
    shared = tmp_path / "shared"
    whole_run(tmp_path / "first", f"estimate.reuse={shared}")
    (made,) = shared.iterdir()
    lock = lock_folder(made)
    other = threading.Timer(0.5, lock.close)
    other.start()
    whole_run(tmp_path / "second", f"estimate.reuse={shared}", "prune.ffn=0.5")
    assert not other.is_alive()
    assert is_reused(tmp_path / "second")
    assert "waits for it" in (tmp_path / "second" / artifacts.LOG).read_text(encoding="utf-8")


def test_a_damaged_estimation_is_made_again(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    whole_run(tmp_path / "first", f"estimate.reuse={shared}")
    (state,) = shared.rglob("state.safetensors")
    state.write_bytes(state.read_bytes()[:-1] + b"?")
    whole_run(tmp_path / "second", f"estimate.reuse={shared}")
    assert not is_reused(tmp_path / "second")
    assert left_behind(tmp_path / "second")["tensors"] == left_behind(tmp_path / "first")["tensors"]
    whole_run(tmp_path / "third", f"estimate.reuse={shared}")
    assert is_reused(tmp_path / "third")


def test_without_a_sweep_nothing_is_shared(tmp_path: Path) -> None:
    whole_run(tmp_path / "run")
    assert RunRecord.read(tmp_path / "run").estimation == {}
