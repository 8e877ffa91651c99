"""From a configuration to processes: how many, what becomes of the record, and the real command once."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from command_line import FAST, command, tiny_files
from light_peft import launch, launchers
from light_peft.artifacts import RunRecord
from light_peft.interrupts import Interrupted
from light_peft.launch import num_processes, run_in_processes, threads_for
from light_peft.supervisor import WorkerDied, Workers
from test_config import composed


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.delenv(name, raising=False)


def on_machine(monkeypatch: pytest.MonkeyPatch, gpus: int) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpus > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)


@pytest.mark.parametrize(
    ("words", "gpus", "count"),
    [
        ((), 0, 1),
        (("runtime.processes=3",), 0, 3),
        ((), 4, 4),
        (("runtime.processes=2",), 4, 2),
        (("runtime.device=cpu",), 4, 1),
        (("runtime.device=cpu", "runtime.processes=5"), 4, 5),
    ],
)
def test_number_of_processes(monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], gpus: int, count: int) -> None:
    on_machine(monkeypatch, gpus)
    assert num_processes(composed(*words)) == count


def test_more_processes_than_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    on_machine(monkeypatch, 2)
    with pytest.raises(ValueError, match=r"runtime\.processes=3: this machine has 2 of the device cuda"):
        num_processes(composed("runtime.processes=3"))


def test_a_launcher_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    on_machine(monkeypatch, 0)
    monkeypatch.setattr(launchers, "asked_of_accelerate", lambda: 2)
    assert num_processes(composed()) == 2
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert num_processes(composed("runtime.processes=3")) == 1


def test_threads_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(12)), raising=False)
    assert [threads_for(composed(), count) for count in (1, 5, 12, 50)] == [12, 2, 1, 1]
    assert threads_for(composed("runtime.threads=4"), 50) == 4


BEGIN = "import json, os, signal, sys; rank = int(os.environ['RANK']); folder = sys.argv[-1]\n"
REPORT = "open(os.environ['LIGHT_PEFT_ERROR_FILE'], 'w').write(json.dumps({'time': 1.0, 'message': %r}))\n"


def run_stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> tuple[Any, BaseException | None]:
    """Run with workers that do `body`; return the record that is left, and what was raised."""
    script = tmp_path / "worker.py"
    script.write_text(BEGIN + body, encoding="utf-8")

    def stand_ins(words: list[str], *rest: Any) -> Workers:
        assert words[1:3] == ["-m", "light_peft.worker"]
        return Workers([sys.executable, str(script), words[3]], *rest)

    monkeypatch.setattr(launch, "Workers", stand_ins)
    config = composed("debug=smoke", f"run_dir={tmp_path / 'run'}", "runtime.processes=2")
    error = None
    try:
        run_in_processes(config, 2)
    except (ValueError, WorkerDied, Interrupted) as raised:
        error = raised
    return RunRecord.read(tmp_path / "run"), error


def test_a_process_that_dies_is_in_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record, error = run_stand_ins(tmp_path, monkeypatch, "if rank: os.kill(os.getpid(), signal.SIGKILL)")
    assert isinstance(error, WorkerDied)
    assert str(error).endswith(f"the same command with run_dir={tmp_path / 'run'} goes on")
    assert (record.status, record.error) == ("failed", "process 2 of 2 (rank 1) was killed by SIGKILL")
    assert (record.task, record.config["runtime"]["processes"]) == ("demo", 2)


def test_a_message_for_the_user_is_raised_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, error = run_stand_ins(tmp_path, monkeypatch, REPORT % "data.dir=x: no such folder" + "sys.exit(2)")
    assert isinstance(error, ValueError)
    assert str(error) == "data.dir=x: no such folder"


def test_processes_that_were_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, error = run_stand_ins(tmp_path, monkeypatch, "sys.exit(143)")
    assert isinstance(error, Interrupted)
    assert error.exit_code == 143
    assert error.__notes__ == [f"the same command with run_dir={tmp_path / 'run'} goes on"]


def test_a_wrong_value_starts_nothing(tmp_path: Path) -> None:
    outcome = command(tmp_path, "runtime.processes=2", "train.epochs=-1")
    assert (outcome.code, outcome.message) == (2, "train.epochs=-1: must be above 0, and finite")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_accelerate_launch_on_cpus(tmp_path: Path) -> None:
    """Accelerate starts one process here; the two that it was asked for are there all the same, and find each other."""
    start = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "-m", "run"]
    words = [*FAST, *tiny_files(tmp_path), "run_dir=here", "runtime.threads=1"]
    done = subprocess.run([*start, *words], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    record = RunRecord.read(tmp_path / "here")
    assert (record.status, record.hardware["processes"], record.hardware["threads"]) == ("finished", 2, 1)
    assert done.stdout.count("record: ") == 1
    assert (tmp_path / "here" / "run.log").read_text(encoding="utf-8").count("of the blocks") == 1
    assert not (tmp_path / "outputs").exists()
