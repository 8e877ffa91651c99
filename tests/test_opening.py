import json
import logging
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest

from light_peft import artifacts, opening
from light_peft.artifacts import RunRecord
from light_peft.config import TrainConfig
from light_peft.opening import new_run_dir, open_run
from opening_cases import config, leave, reopened


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.getLogger("light_peft"), "propagate", True)


@pytest.mark.parametrize("run_dir", [None, "new/deep", "empty"])
def test_a_new_run_has_its_configuration_and_a_record_from_the_start(run_dir: str | None) -> None:
    Path("empty").mkdir()
    opened = reopened(config(run_dir))
    assert not opened.is_finished
    assert str(opened.folder) == run_dir or opened.folder.parent.parent == Path("outputs")
    written = artifacts.read_json(opened.folder / artifacts.CONFIG)
    assert written == json.loads(json.dumps(asdict(config(str(opened.folder)))))
    record = RunRecord.read(opened.folder)
    assert record == opened.record
    assert (record.status, record.task, record.model, record.peft, record.seed) == (
        "running",
        "demo",
        "tiny",
        "lora",
        1,
    )
    assert record.config == json.loads(json.dumps(asdict(config(run_dir))))


def test_runs_without_a_folder_never_share_one() -> None:
    assert reopened(config()).folder != reopened(config()).folder


@pytest.mark.parametrize("status", ["running", "failed", "interrupted", "a word of a later version"])
def test_an_unfinished_run_goes_on_and_its_record_begins_anew(status: str) -> None:
    folder = leave(status, "run")
    record = RunRecord.read(folder)
    record.error, record.history, record.resumed = "killed", [{"step": 1}], [{"stage": "train", "step": 4}]
    record.write(folder)
    opened = reopened(config("run", resume=status == "failed", keep=7))
    assert not opened.is_finished
    assert opened.record.resumed == [{"stage": "train", "step": 4}]
    assert (opened.record.status, opened.record.error, opened.record.history) == ("running", None, [])
    assert RunRecord.read(folder) == opened.record
    assert artifacts.read_json(folder / artifacts.CONFIG)["checkpoint"]["keep"] == 7


@pytest.mark.parametrize(("status", "left"), [("finished", False), ("failed", True), ("interrupted", True)])
def test_checkpoints_go_when_the_record_says_finished(status: str, left: bool) -> None:
    opened = open_run(config("run"))
    (opened.folder / artifacts.CHECKPOINTS / "000001-train-2").mkdir(parents=True)
    opened.record.status = status
    opened.end()
    assert RunRecord.read(opened.folder).status == status
    assert (opened.folder / artifacts.CHECKPOINTS).exists() == left
    assert open_run(config("run")).is_finished == (status == "finished")  # and the lock is gone


def test_checkpoints_stay_where_the_record_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_run(config("run"))
    (opened.folder / artifacts.CHECKPOINTS / "000001-train-2").mkdir(parents=True)
    opened.record.status = "finished"

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(ValueError, match=r"^run/result\.json: cannot be written \(No space left on device\)"):
            opened.end()
    assert (opened.folder / artifacts.CHECKPOINTS).exists()
    assert not reopened(config("run")).is_finished


def test_a_finished_run_is_not_begun_again() -> None:
    folder = leave("finished", "run")
    (folder / artifacts.CHECKPOINTS / "000001-train-2").mkdir(parents=True)
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    opened = reopened(config("run"))
    assert opened.is_finished
    assert opened.record.status == "finished"
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_run_of_another_configuration_is_refused_with_what_differs() -> None:
    leave("failed", "run")
    with pytest.raises(ValueError, match="run_dir=run: the run in this folder is of another configuration") as caught:
        open_run(config("run", steps=9, seed=3))
    lines = str(caught.value).splitlines()[1:]
    assert lines == ["  train.max_steps is 8 there and 9 now", "  seed is 1 there and 3 now"]
    assert RunRecord.read(Path("run")).status == "failed"


def test_many_differences_are_counted() -> None:
    leave("failed", "run")
    values = artifacts.read_json(Path("run", artifacts.CONFIG))
    values["train"] = {"schedule": "cosine"}
    artifacts.write_json(Path("run", artifacts.CONFIG), values)
    with pytest.raises(ValueError, match=r'train\.schedule is "cosine" there and not there now') as caught:
        open_run(config("run"))
    lines = str(caught.value).splitlines()[1:]
    assert len(lines) == 11
    assert lines[-1] == f"  and {len(asdict(TrainConfig())) + 1 - 10} more"


@pytest.mark.parametrize("name", ["notes.txt", "result.json", "run.log", ".hidden"])
def test_a_folder_of_something_else_is_left_alone(name: str) -> None:
    Path("run").mkdir()
    Path("run", name).write_text("mine")
    with pytest.raises(ValueError, match=r"^run_dir=run: this folder is not empty; name a new one or leave run_dir"):
        open_run(config("run"))
    assert [path.name for path in Path("run").iterdir()] == [name]


def test_a_file_is_no_run_folder() -> None:
    Path("run").write_text("")
    with pytest.raises(ValueError, match=r"^run_dir=run: a file of this name is there"):
        open_run(config("run"))
    with pytest.raises(ValueError, match=r"^run_dir=run/deep: cannot be used as a run folder \(Not a directory\)"):
        open_run(config("run/deep"))


def test_what_a_kill_left_is_removed_and_no_hindrance() -> None:
    folder = leave("running", "run")
    for name in (".scores.safetensors.12-0a0b0c0d.part", ".tmpX1Y2Z3"):
        (folder / name).write_text("half")
    (folder / ".model.12-0a0b0c0d.part").mkdir()
    (folder / ".model.12-0a0b0c0d.part" / "half").touch()
    reopened(config("run"))
    assert {path.name for path in folder.iterdir()} == {artifacts.CONFIG, artifacts.RECORD, artifacts.LOCK}
    Path("begun").mkdir()
    Path("begun", ".config.json.12-0a0b0c0d.part").write_text("{")
    Path("begun", artifacts.LOCK).touch()
    assert not reopened(config("begun")).is_finished


def test_a_damaged_record_counts_as_unfinished(caplog: pytest.LogCaptureFixture) -> None:
    folder = leave("finished", "run")
    (folder / artifacts.RECORD).write_text('{"status": "fini')
    assert not reopened(config("run")).is_finished
    assert "result.json is damaged" in caplog.messages[0]
    assert "the run counts as unfinished" in caplog.messages[0]
    assert RunRecord.read(folder).status == "running"


@pytest.mark.parametrize("content", ["", '{"seed": 1', "[]", "\0" * 100])
def test_a_damaged_configuration_is_refused(content: str) -> None:
    folder = leave("failed", "run")
    (folder / artifacts.CONFIG).write_text(content)
    with pytest.raises(ValueError, match=r"^run_dir=run: .*config\.json is .*; which run this is cannot be told; name"):
        open_run(config("run"))
    assert (folder / artifacts.CONFIG).read_text() == content


HOLD = """
import fcntl, sys, time
lock = open(sys.argv[1], "w")
fcntl.flock(lock, fcntl.LOCK_EX)
print("process 7 on another", file=lock, flush=True)
print("locked", flush=True)
time.sleep(600)
"""


def test_two_processes_never_work_in_one_folder_and_a_killed_one_frees_it() -> None:
    folder = leave("running", "run")
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(folder / artifacts.LOCK)], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(
            ValueError, match=r"^run_dir=run: another process is at work in it \(process 7 on another\)"
        ):
            open_run(config("run"))
    finally:
        other.kill()
        other.wait()
    assert not reopened(config("run")).is_finished


def test_a_disk_without_locks_is_warned_of(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    assert not reopened(config("run")).is_finished
    assert "no lock ([Errno 37] No locks available); take care" in caplog.text


def test_fifty_want_one_folder_and_one_gets_it() -> None:
    opened, refused = [], 0
    for _ in range(50):
        try:
            opened.append(open_run(config("run")))
        except opening.BusyError:
            refused += 1
    assert (len(opened), refused) == (1, 49)
    opened[0].close()


def test_a_folder_that_cannot_be_written_into_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ValueError, match=r"^run/run\.lock: cannot be written \(Read-only file system\)"):
        open_run(config("run"))


def test_fifty_runs_at_once_get_fifty_folders() -> None:
    together = threading.Barrier(50)

    def claim(_: int) -> Path:
        together.wait()
        return new_run_dir("tiny")

    with ThreadPoolExecutor(50) as pool:
        folders = list(pool.map(claim, range(50)))
    assert len(set(folders)) == 50
    assert all(folder.is_dir() and not any(folder.iterdir()) for folder in folders)
    assert all(folder.parts[0] == "outputs" and "tiny" in folder.name for folder in folders)


def test_any_name_makes_a_folder() -> None:
    assert new_run_dir("demo-owner/model-lora").parent.parent == Path("outputs")
