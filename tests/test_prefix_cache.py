"""With the prefix cache a run trains what it trains without; where that could not be, it says so and goes without."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from light_peft import artifacts
from light_peft.artifacts import RunRecord
from light_peft.config import RuntimeConfig
from light_peft.data.row_file import RowFile
from light_peft.runtime import start_runtime
from light_peft.tasks.choice_head import ChoiceByHead
from light_peft.tasks.span import Span
from prefix_cases import ROWS, features, trained
from test_keeping import whole_run

CACHED = ("prune.module_depth=1", "peft.targets=[query,value]", "train.max_steps=8", "data.padding=dynamic")
"""A run of nearly three epochs whose lowest layer keeps no module."""
NO_DROPOUT = ("+model.random.hidden_dropout_prob=0", "+model.random.attention_probs_dropout_prob=0", "peft.dropout=0")


@pytest.fixture(scope="module")
def accelerator() -> Accelerator:
    return start_runtime(RuntimeConfig(device="cpu", precision="fp32"), 0)


def test_a_run_with_the_cache_is_the_run_without(tmp_path: Path) -> None:
    """Its weights, losses and scores between epochs, within rounding; it computes less, and leaves no file."""
    words = (*CACHED, *NO_DROPOUT, "train.distill=0.5", "train.micro_batches=2")
    for wanted in ("off", "exact"):
        whole_run(tmp_path / wanted, *words, f"train.prefix_cache={wanted}")
    without, cached = (RunRecord.read(tmp_path / wanted) for wanted in ("off", "exact"))
    assert without.plan["lowest_trained_layer"] == 1
    assert without.prefix_cache == {}
    found = dict(cached.prefix_cache)
    assert 0 < found.pop("seconds") == cached.phases["train"]["part_seconds"]["prefix_cache"]
    tokens = without.phases["train"]["tokens"] * 3 // 8  # about: an epoch is 3 of 8 steps
    assert found.pop("bytes") == pytest.approx(tokens * 32 * 4, rel=0.2)
    assert found == {"layers": 1, "features": 48}
    costs = [record.phases["train"] for record in (without, cached)]
    for figure in ("steps", "examples", "tokens"):
        assert costs[0][figure] == costs[1][figure]
    assert 0.5 < costs[1]["flops"] / costs[0]["flops"] < 0.9
    assert len(cached.history) == len(without.history) > 4
    for one, other in zip(cached.history, without.history, strict=True):
        assert one.pop("phase") == other.pop("phase")
        assert one == pytest.approx(other, rel=1e-5)
    file = Path(artifacts.ADAPTER) / "adapter_model.safetensors"
    weights = [artifacts.read_tensors(tmp_path / wanted / file) for wanted in ("off", "exact")]
    torch.testing.assert_close(weights[0], weights[1], atol=1e-5, rtol=1e-4)
    assert not list((tmp_path / "exact").rglob(f"*{Path(artifacts.PREFIX).name}*"))


def test_the_states_that_are_read_are_those_of_evaluation(tmp_path: Path, accelerator: Accelerator) -> None:
    """So that `eval` turns off the dropout below what trains."""
    plain = trained(accelerator, tmp_path / "plain")
    noisy = trained(accelerator, tmp_path / "noisy", dropout=0.5)
    still = trained(accelerator, tmp_path / "still", dropout=0.5, prefix_cache="eval")
    assert still.is_read
    torch.testing.assert_close(still.parameters, plain.parameters, atol=2e-6, rtol=1e-5)
    assert any((noisy.parameters[name] - plain.parameters[name]).abs().max() > 1e-3 for name in plain.parameters)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"dropout": 0.1}, "there is dropout in the lowest layers, which train.prefix_cache=eval would turn off"),
        ({"steps": 4}, "training passes over the data only once"),
        ({"prefix_cache_gb": 5e-6}, "it would take 5.09e-06 GB, and train.prefix_cache_gb=5e-06"),
        ({"bound": Span.bound_to_batch}, "the probabilities of a span task go over the padding, too"),
        ({"bound": ChoiceByHead.bound_to_batch}, "an example of a choice by a head is several rows of a batch"),
    ],
)
def test_where_it_is_not_right_it_is_off(
    tmp_path: Path, accelerator: Accelerator, settings: dict[str, Any], reason: str
) -> None:
    found = trained(accelerator, tmp_path, prefix_cache="exact", **settings)
    assert found.cache == {"off": reason}
    assert not found.is_read
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full_costs_the_cache_and_not_the_run(tmp_path: Path, accelerator: Accelerator) -> None:
    written = 0

    def full(_: int, values: memoryview, __: int) -> int:
        nonlocal written
        written += len(values)
        if written > 2000:
            raise OSError(28, "No space left on device")
        return len(values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        found = trained(accelerator, tmp_path, prefix_cache="exact")
    assert found.cache == {"off": "the file cannot be written"}
    assert not list((tmp_path / artifacts.CHECKPOINTS).iterdir())
    expected = trained(accelerator, tmp_path)
    assert all(torch.equal(values, expected.parameters[name]) for name, values in found.parameters.items())


def test_a_file_is_read_again_only_by_a_run_that_goes_on_training(tmp_path: Path, accelerator: Accelerator) -> None:
    first = trained(accelerator, tmp_path, prefix_cache="exact")
    file = RowFile(tmp_path / artifacts.PREFIX, features()["_length"][:], 24, torch.float32)
    assert file.num_bytes == first.cache["bytes"]
    assert first.cache["features"] == ROWS
    file.begin()
    file.end()  # zeros, so that it shows who reads them
    goes_on = trained(accelerator, tmp_path, prefix_cache="exact", found=SimpleNamespace(stage="train"))
    assert goes_on.cost.part_seconds is None
    name = max(first.parameters, key=lambda name: (first.parameters[name] - goes_on.parameters[name]).abs().max())
    assert (first.parameters[name] - goes_on.parameters[name]).abs().max() > 1e-3
    anew = trained(accelerator, tmp_path, prefix_cache="exact", found=SimpleNamespace(stage="estimate"))
    assert all(torch.equal(values, anew.parameters[name]) for name, values in first.parameters.items())
    assert anew.cache.keys() == first.cache.keys()
