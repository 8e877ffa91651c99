"""The real command with the frozen weights spread over two processes, against one process that has them all."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from command_line import command
from light_peft import artifacts
from light_peft.artifacts import RunRecord

WORDS = (
    *("debug=smoke", "runtime.device=cpu", "runtime.precision=fp32", "peft.dropout=0", "prune.compensate_bias=true"),
    *("+model.config.hidden_dropout_prob=0", "+model.config.attention_probs_dropout_prob=0", "run_dir=run"),
)
"""Without dropout, whose draws differ from process to process."""


@pytest.mark.slow
def test_a_sharded_run_of_two_processes_finds_what_one_process_does(tmp_path: Path) -> None:
    alone, sharded = tmp_path / "alone", tmp_path / "sharded"
    for folder, words in (
        (alone, ("runtime.processes=1", "train.batch_size=8")),
        (sharded, ("runtime.processes=2", "train.batch_size=4", "runtime.sharding=fsdp")),
    ):
        folder.mkdir()
        outcome = command(folder, *WORDS, *words)
        assert outcome.code == 0, outcome.output
    plans = [json.loads((folder / "run" / artifacts.PLAN).read_text(encoding="utf-8")) for folder in (alone, sharded)]
    assert plans[0] == plans[1]
    records = [RunRecord.read(folder / "run") for folder in (alone, sharded)]
    assert records[0].score == records[1].score
    assert records[0].parameters == records[1].parameters
    log = (sharded / "run" / artifacts.LOG).read_text(encoding="utf-8")
    parts = re.findall(r"holds ([\d,]+) bytes of the ([\d,]+) of frozen weights", log)
    assert len(parts) == 2, "before the cut and after it"
    (here, whole), (here_after, _) = [[int(figure.replace(",", "")) for figure in pair] for pair in parts]
    assert 0.5 * whole <= here < 0.51 * whole
    assert here_after < here
    for name in (artifacts.SCORES, "model/model.safetensors"):
        one, two = (load_file(folder / "run" / name) for folder in (alone, sharded))
        torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-5)
