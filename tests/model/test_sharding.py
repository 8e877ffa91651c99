"""Frozen weights spread over two real processes (gloo, CPU), against the same model whole on one."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from light_peft.model.sharding import inside, is_sharded, whole_tensor

TESTS = Path(__file__).resolve().parent.parent
ROUNDING = 1e-6
"""Relative to the largest value; fp32, and two processes add the same numbers."""
KINDS = [
    "bert/adalora",
    "bert/bitfit",
    "bert/bottleneck parallel",
    "bert/dora",
    "bert/ia3",
    "bert/miss bat",
    "bert/prefix_tuning",
    "bert/prompt_tuning",
    "gpt2 speaks/lora",
    "llama speaks/bottleneck",
    "opt post-norm/lora",
]
"""Tied embeddings and weights stored as [I, O] (GPT-2), blocks that return tuples, rotary buffers (Llama)."""
CYCLED = "gpt2 speaks/lora"
GENERATION = ["gpt2 speaks/lora", "llama speaks/bottleneck"]
CASES = [
    *(f"kind/{name}" for name in KINDS),
    *(f"generation/{name}" for name in GENERATION),
    *(f"cycles/{CYCLED}", "half/bert/lora", "saving/bert/dora"),
]


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return what each of two processes found in every case."""
    folder, source = tmp_path_factory.mktemp("pair"), TESTS.parent
    paths = [str(TESTS), str(source / "scripts"), str(source / "src")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    script = str(Path(__file__).with_name("sharded_cases.py"))
    commands = [[sys.executable, script, str(rank), "2", str(folder), *CASES] for rank in range(2)]
    logs = [(folder / f"{rank}.log").open("w", encoding="utf-8") for rank in range(2)]
    pair = [
        subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        for command, log in zip(commands, logs, strict=True)
    ]
    try:
        codes = [process.wait(timeout=300) for process in pair]
    finally:
        for process, log in zip(pair, logs, strict=True):
            process.kill()
            log.close()
    assert codes == [0, 0], (folder / "0.log").read_text(encoding="utf-8")[-2000:]
    return [json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(2)]


def of_both(figures: list[dict[str, Any]], case: str) -> list[dict[str, Any]]:
    found = [own[case] for own in figures]
    assert not any("error" in own for own in found), found
    return found


@pytest.mark.parametrize("name", KINDS)
def test_a_sharded_model_computes_what_the_whole_one_does(figures: list[dict[str, Any]], name: str) -> None:
    for own in of_both(figures, f"kind/{name}"):
        for what in ("logits_0", "logits_1", "logits_no_grad", "gradients_0", "gradients_1"):
            assert own[what] < ROUNDING, what
        assert own["trained"] > 6, "masks and PEFT are trained"


@pytest.mark.parametrize("name", KINDS)
def test_each_process_holds_half_of_the_frozen_weights(figures: list[dict[str, Any]], name: str) -> None:
    parts = [own["sharded_bytes"] for own in of_both(figures, f"kind/{name}")]
    whole = figures[0][f"kind/{name}"]["plain_bytes"]
    assert max(parts) < 0.52 * whole
    assert sum(parts) >= whole


@pytest.mark.parametrize("name", KINDS)
def test_unsharding_gives_the_model_back_to_the_bit(figures: list[dict[str, Any]], name: str) -> None:
    for own in of_both(figures, f"kind/{name}"):
        assert own["is_bit_equal"]
        assert own["leaves_no_trace"]
        assert own["logits_afterwards"] == 0


def test_sharding_again_and_again_leaves_nothing_behind(figures: list[dict[str, Any]]) -> None:
    for own in of_both(figures, f"cycles/{CYCLED}"):
        assert own["alive"] == [own["alive"][0]] * 3, "tensors and bytes after each cycle"
        assert own["tied"] == [True], "the embedding and the language-model head"


@pytest.mark.parametrize("name", GENERATION)
def test_processes_may_write_answers_of_different_lengths(figures: list[dict[str, Any]], name: str) -> None:
    found = of_both(figures, f"generation/{name}")
    assert [own["length"] for own in found] == [9, 2]
    assert all(own["is_equal"] for own in found)


def test_frozen_weights_may_have_half_the_precision(figures: list[dict[str, Any]]) -> None:
    for own in of_both(figures, "half/bert/lora"):
        assert own["logits"] < ROUNDING
        assert "torch.bfloat16" in own["dtypes"]


def test_one_process_may_gather_for_all(figures: list[dict[str, Any]]) -> None:
    first, second = of_both(figures, "saving/bert/dora")
    assert first["bytes"] == first["plain_bytes"]
    assert second["bytes"] == 0
    assert all(own["is_whole"] and own["counts_all"] for own in (first, second))


def test_what_is_not_sharded_is_left_alone() -> None:
    linear = nn.Linear(2, 2)
    assert not is_sharded(linear)
    assert whole_tensor(linear.weight) is linear.weight
    assert torch.equal(inside(linear, lambda: linear.weight), linear.weight)
