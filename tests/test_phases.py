"""Switches of a phase that may change what a run costs, and nothing of what it finds."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console

from light_peft import artifacts, door
from light_peft.config import config_from_dict
from light_peft.session import run
from light_peft.training.loop import PhaseRun

RUN = [
    *("debug=smoke", "runtime.threads=1", "estimate.steps=3", "train.max_steps=3", "data.max_eval_samples=16"),
    *("data.max_train_samples=25", "train.batch_size=11", "data.padding=max_length", "data.max_length=16"),
    *("prune.attn=0.25", "prune.ffn=0.4", "prune.peft_module=0.5", "prune.peft_rank=0.5", "peft.dropout=0"),
    *("+model.config.hidden_dropout_prob=0", "+model.config.attention_probs_dropout_prob=0", "save.model=false"),
]
"""The third batch of an epoch has 3 examples."""
PARTS = ["estimate.micro_batches=4", "train.micro_batches=3"]
AGAIN = ["estimate.gradient_checkpointing=true", "train.gradient_checkpointing=true"]


def finish(folder: Path, *words: str) -> dict[str, Any]:
    """Return the record of a run in `folder`, its plan and scores beside it."""
    door.register()
    with initialize_config_dir(str(door.conf_dir()), version_base="1.3"):
        composed = compose("config", [*RUN, *words, f"run_dir={folder}"])
    run(config_from_dict(OmegaConf.to_container(composed, resolve=True)), Console(quiet=True))
    return artifacts.read_json(folder / artifacts.RECORD)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each kind, every batch in one piece."""
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in ("lora", "bottleneck")}
    for kind, folder in folders.items():
        finish(folder, f"peft={kind}")
    return folders


def assert_alike(folder: Path, other: Path, *, flops: bool = True) -> None:
    """The two runs measured, decided and learned the same, from as many examples and tokens."""
    record, expected = (artifacts.read_json(place / artifacts.RECORD) for place in (folder, other))
    assert artifacts.read_json(folder / artifacts.PLAN) == artifacts.read_json(other / artifacts.PLAN)
    scores, of_other = (artifacts.read_tensors(place / artifacts.SCORES) for place in (folder, other))
    torch.testing.assert_close(scores, of_other, rtol=1e-3, atol=1e-6)
    losses, of_other_losses = ([e["loss"] for e in r["history"] if "loss" in e] for r in (record, expected))
    assert losses == pytest.approx(of_other_losses, rel=1e-4)
    for phase in ("estimate", "train"):
        cost, of_whole = record["phases"][phase], expected["phases"][phase]
        assert [cost[n] for n in ("steps", "examples", "tokens")] == [
            of_whole[n] for n in ("steps", "examples", "tokens")
        ]
        if flops:
            assert cost["flops"] == pytest.approx(of_whole["flops"], rel=0.02)


@pytest.mark.parametrize("kind", ["lora", "bottleneck"])
@pytest.mark.parametrize("words", [PARTS, AGAIN], ids=["parts", "checkpointing"])
def test_parts_and_recomputation_change_nothing(
    whole: dict[str, Path], tmp_path: Path, kind: str, words: list[str]
) -> None:
    record = finish(tmp_path, f"peft={kind}", *words)
    assert_alike(tmp_path, whole[kind], flops=words is PARTS)
    if words is AGAIN:
        plain = artifacts.read_json(whole[kind] / artifacts.RECORD)
        assert record["phases"]["estimate"]["flops"] > 1.2 * plain["phases"]["estimate"]["flops"]


@pytest.mark.parametrize("phase", ["estimate", "train"])
def test_a_run_that_is_left_between_two_parts_goes_on(
    whole: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    add, calls = PhaseRun._backward, [0]

    def fail_later(loop: PhaseRun, *args: Any) -> None:
        calls[0] += loop._phase.name == phase
        if calls[0] == 6:  # in the second step
            raise RuntimeError("left")
        add(loop, *args)

    monkeypatch.setattr(PhaseRun, "_backward", fail_later)
    with pytest.raises(RuntimeError, match="left"):
        finish(tmp_path, "peft=lora", *PARTS, "checkpoint.steps=1")
    monkeypatch.undo()
    record = finish(tmp_path, "peft=lora", *PARTS, "checkpoint.steps=1")
    assert record["resumed"] == [{"stage": phase, "step": 1}]
    assert_alike(tmp_path, whole["lora"])
