"""Whole runs with a target: what was asked, predicted and reached is in the record, and comes back with the run."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from command_line import command
from light_peft import artifacts
from light_peft.meter import CPU_ATTENTION
from light_peft.pruning import probe

WORDS = ("debug=smoke", "runtime.device=cpu", "runtime.threads=1", "estimate.steps=2", "train.max_steps=3")
FIGURES = {"target", "asked", "attn", "ffn", "predicted", "before", "after", "reached"}


def flops_of(steps: Sequence[Callable[[], None]], _: torch.device) -> list[float]:
    """Return what a machine would take whose seconds are operations."""
    found = []
    for step in steps:
        with FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter:
            step()
        found.append(float(counter.get_total_flops()))
    return found


def record_of(folder: Path, *words: str) -> dict[str, Any]:
    outcome = command(folder.parent, *WORDS, f"run_dir={folder}", *words)
    assert outcome.code == 0, outcome.output
    return artifacts.read_json(folder / artifacts.RECORD)


def test_a_target_of_speed_is_reached_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "least_seconds", flops_of)
    words = ("prune.target.speedup=1.6", "prune.peft_module=0.5", "train.distill=1.0")
    record = record_of(tmp_path / "run", *words)
    budget, plan = record["budget"], record["plan"]
    assert set(budget) == FIGURES
    assert (budget["target"], budget["asked"]) == ("speedup", 1.6)
    assert budget["predicted"] >= 1.6
    assert budget["reached"] == budget["before"] / budget["after"] == pytest.approx(budget["predicted"], rel=0.05)
    cut = [1 - sum(plan[kept]) / sum(plan[f"{kept}_before"]) for kept in ("heads", "ffn")]
    assert cut == pytest.approx([budget["attn"], budget["ffn"]])
    assert record["phases"]["surgery"]["part_seconds"]["budget"] > 0
    log = (tmp_path / "run" / artifacts.LOG).read_text(encoding="utf-8")
    assert f"prune.target.speedup=1.6: reached {budget['reached']:.3g}" in log
    again = command(tmp_path, f"evaluate={tmp_path / 'run'}")
    assert again.code == 0, again.output


def test_a_target_of_memory_is_measured_alike_each_time_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("prune.target.memory=0.8", "train.micro_batches=2", "checkpoint.steps=1")
    whole = record_of(tmp_path / "whole", *words)
    budget = whole["budget"]
    assert set(budget) == FIGURES
    assert budget["predicted"] <= 0.8
    assert budget["reached"] == budget["after"] / budget["before"] == pytest.approx(budget["predicted"], rel=0.05)
    with monkeypatch.context() as patch:
        patch.setattr("light_peft.pipeline.Run.evaluate", refuse)
        assert command(tmp_path, *WORDS, f"run_dir={tmp_path / 'left'}", *words).code != 0
    record = record_of(tmp_path / "left", *words)
    assert record["resumed"]
    assert record["budget"] == budget
    assert record["score"] == whole["score"]


def refuse(*_: object) -> None:
    """Be an evaluation that fails."""
    raise ValueError("no evaluation today")


def test_a_target_out_of_reach_ends_the_run_with_what_is_in_reach(tmp_path: Path) -> None:
    outcome = command(tmp_path, *WORDS, "prune.target.blocks=0.01", f"run_dir={tmp_path / 'run'}")
    assert outcome.code != 0
    assert outcome.message.startswith("prune.target.blocks=0.01: 0.")
    assert "is the best that can be reached here" in outcome.message
