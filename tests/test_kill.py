"""The real command, killed twice and resumed (`scripts/kill_harness.py` does it at length), and the harness itself."""

import shutil
import sys
from pathlib import Path

import pytest

from attempt import RUN
from command_line import command
from kill_harness import PHASES, SMALL, Kill, gaps, killed_and_resumed
from light_peft import artifacts
from light_peft.artifacts import RunRecord
from run_differences import differences

WORDS = (*SMALL, "runtime.processes=1", "estimate.steps=3", "train.max_steps=6", "checkpoint.steps=2")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert command(folder, *WORDS, f"run_dir={RUN}").code == 0
    return folder / RUN


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs SIGKILL and /proc")
def test_a_run_that_is_killed_ends_as_if_it_had_not_been(tmp_path: Path, undisturbed: Path) -> None:
    kills = [Kill("estimate", 0.5, "parent"), Kill("save", 0.0, "parent")]
    outcome = killed_and_resumed(tmp_path, WORDS, kills, dict.fromkeys(PHASES, 0.1))
    assert outcome.problems == []
    assert outcome.kills, "no kill hit"
    assert not any(kill.problems for kill in outcome.kills)
    assert differences(undisturbed, tmp_path / RUN) == []
    assert max(steps for _, steps in gaps(tmp_path / RUN / artifacts.LOG)) <= 2


def test_the_harness_sees_every_difference(tmp_path: Path, undisturbed: Path) -> None:
    other = shutil.copytree(undisturbed, tmp_path / "other")
    assert differences(undisturbed, other) == []
    path = other / artifacts.SCORES
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    (other / "adapter" / "adapter_config.json").unlink()
    (other / "odd.txt").touch()
    record = RunRecord.read(other)
    record.totals["seconds"], record.resumed = -1.0, [{"stage": "train", "step": 1}]  # may differ
    record.history[-1]["accuracy"] = 2.0
    record.phases["train"]["steps"] = 7
    record.write(other)
    found = differences(undisturbed, other)
    assert [line.split(":")[0] for line in found] == [
        *("adapter/adapter_config.json", "odd.txt", "record.history", "record.phases.train.steps"),
        "scores.safetensors",
    ]


def test_gaps_between_checkpoints_are_counted_from_the_resume(tmp_path: Path) -> None:
    lines = [
        *("checkpoint behind step 3 of estimate", "checkpoint behind step 5 of estimate"),
        *("goes on behind step 3 of estimate", "checkpoint behind step 6 of estimate"),
        *("checkpoint behind step 4 of train", "checkpoint behind step 4 of evaluate"),
    ]
    log = tmp_path / "run.log"
    log.write_text("".join(f"2026-01-01 00:00:00,000 DEBUG {line}\n" for line in lines))
    assert list(gaps(log)) == [("estimate", 3), ("estimate", 2), ("estimate", 3), ("train", 4)]
