"""A full disk, a signal, a damaged file: what a run says, and that the same command brings it to the same end."""

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from command_line import Outcome, command, tiny_files
from light_peft import artifacts
from light_peft.artifacts import RunRecord
from run_differences import differences

SMALL = ("debug=smoke", "runtime.device=cpu", "estimate.steps=3", "train.max_steps=4", "checkpoint.steps=1")
DESCRIPTORS = Path("/proc/self/fd")


def run_in(folder: Path, *words: str) -> Outcome:
    """Give the command whose runs are compared, in a folder of its own with data of its own."""
    folder.mkdir(exist_ok=True)
    tiny_files(folder)
    files = ("data.files.train=train.tsv", "data.files.validation=dev.tsv")
    return command(folder, *SMALL, *files, "run_dir=run", *words)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert run_in(folder).code == 0
    return folder / "run"


@contextmanager
def full_disk(is_full: Callable[[str], bool]) -> Iterator[list[str]]:
    """Let the system refuse to write the files that `is_full` picks by path; give the list of those refused."""
    refused: list[str] = []
    fsync = os.fsync

    def refuse(descriptor: int) -> None:
        path = os.readlink(DESCRIPTORS / str(descriptor))
        if is_full(path):
            refused.append(path)
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", refuse)
        yield refused


@contextmanager
def at_line(line: str, action: Callable[[], None]) -> Iterator[None]:
    """Do `action` when the package logs this line for the first time."""
    seen: list[str] = []

    def watch(record: logging.LogRecord) -> bool:
        if record.getMessage() == line and not seen:
            seen.append(line)
            action()
        return True

    logger = logging.getLogger("light_peft")
    logger.addFilter(watch)
    try:
        yield
    finally:
        logger.removeFilter(watch)
    assert seen, f"never logged: {line}"


def send(signum: int) -> Callable[[], None]:
    """Return an action that sends this process a signal."""
    return lambda: os.kill(os.getpid(), signum)


@pytest.mark.skipif(not DESCRIPTORS.exists(), reason="needs /proc to know a file by its descriptor")
def test_every_file_that_cannot_be_written_is_named_and_resume_ends_it(tmp_path: Path, undisturbed: Path) -> None:
    names = ("config.json", "result.json", "scores.safetensors", "plan.json", "adapter", "model", "tokenizer")
    for name in (*names, "checksums.json"):
        with full_disk(lambda path, name=name: f"/run/.{name}." in path) as refused:
            outcome = run_in(tmp_path)
        assert (outcome.code, len(refused)) == (2, 1), outcome.output
        assert outcome.message.startswith(f"run/{name}"), outcome.output
        assert outcome.message.endswith(": cannot be written (No space left on device)")
        if name not in ("config.json", "result.json"):
            record = RunRecord.read(tmp_path / "run")
            assert record.status == "failed"
            assert f"NotWrittenError: run/{name}" in str(record.error)
        assert not list((tmp_path / "run").glob(".*.part"))
    assert run_in(tmp_path).code == 0
    assert differences(undisturbed, tmp_path / "run") == []
    assert len(RunRecord.read(tmp_path / "run").resumed) == len(names) - 1


@pytest.mark.skipif(not DESCRIPTORS.exists(), reason="needs /proc to know a file by its descriptor")
def test_no_room_for_checkpoints_is_one_warning(tmp_path: Path, undisturbed: Path) -> None:
    with full_disk(lambda path: "/checkpoints/" in path) as refused:
        outcome = run_in(tmp_path)
    assert outcome.code == 0
    assert len(refused) > 5
    assert outcome.output.count("no checkpoint could be written, the run goes on without") == 1
    assert differences(undisturbed, tmp_path / "run") == []


@pytest.mark.skipif(os.geteuid() == 0, reason="needs a user whose rights are limited")
def test_a_folder_that_may_only_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o500)
    outcome = run_in(tmp_path)
    assert outcome.code == 2
    assert outcome.message == "run/run.lock: cannot be written (Permission denied)"


@pytest.mark.parametrize(
    ("line", "signum", "code", "resumed"),
    [
        ("load begins", signal.SIGTERM, 143, []),
        ("checkpoint behind step 1 of estimate", signal.SIGTERM, 143, [{"stage": "estimate", "step": 2}]),
        ("checkpoint behind step 3 of estimate", signal.SIGINT, 130, [{"stage": "estimate", "step": 3}]),
        ("checkpoint behind step 2 of train", signal.SIGINT, 130, [{"stage": "train", "step": 3}]),
        ("save begins", signal.SIGTERM, 143, [{"stage": "evaluate", "step": 4}]),
    ],
)
def test_a_signal_ends_the_run_and_it_goes_on(
    tmp_path: Path, undisturbed: Path, line: str, signum: int, code: int, resumed: list[dict[str, object]]
) -> None:
    with at_line(line, send(signum)):
        outcome = run_in(tmp_path)
    assert outcome.code == code, outcome.output
    assert "interrupted; the same command with run_dir=run goes on" in outcome.output
    assert "Traceback" not in outcome.output
    record = RunRecord.read(tmp_path / "run")
    assert (record.status, record.error) == ("interrupted", f"Interrupted: {signal.Signals(signum).name}")
    assert run_in(tmp_path, "resume=true").code == 0
    record = RunRecord.read(tmp_path / "run")
    assert record.resumed == resumed
    found = differences(undisturbed, tmp_path / "run")
    assert found == ["record.config.resume: False expected, True found"]


def interrupted(folder: Path) -> Path:
    """Leave a run that was interrupted in training; return the folder of its newest checkpoint."""
    with at_line("checkpoint behind step 2 of train", send(signal.SIGTERM)):
        assert run_in(folder).code == 143
    older, newest = sorted((folder / "run" / artifacts.CHECKPOINTS).iterdir())
    assert (older.name.split("-")[1:], newest.name.split("-")[1:]) == (["train", "2"], ["train", "3"])
    return newest


def test_a_damaged_checkpoint_costs_one_interval(tmp_path: Path, undisturbed: Path) -> None:
    path = interrupted(tmp_path) / "state.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    outcome = run_in(tmp_path)
    assert outcome.code == 0
    said = " ".join(outcome.output.split())
    assert "is damaged and passed over (state.safetensors has changed since it was written" in said
    assert RunRecord.read(tmp_path / "run").resumed == [{"stage": "train", "step": 2}]
    assert differences(undisturbed, tmp_path / "run") == []


def test_what_a_checkpoint_relies_on_is_checked(tmp_path: Path) -> None:
    interrupted(tmp_path)
    path = tmp_path / "run" / artifacts.SCORES
    path.write_bytes(path.read_bytes()[:-1])
    outcome = run_in(tmp_path)
    assert outcome.code == 2
    assert (
        outcome.message
        == "run/scores.safetensors is damaged or gone, and the run cannot go on without it; begin it anew"
    )


def test_a_finished_run_is_told_again_and_another_one_refused(undisturbed: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*")}
    assert run_in(undisturbed.parent).code == 0
    outcome = run_in(undisturbed.parent, "train.max_steps=5", "seed=1")
    assert outcome.code == 2
    lines = ["  train.max_steps is 4 there and 5 now", "  seed is 42 there and 1 now"]
    assert outcome.message.splitlines() == [
        "run_dir=run: the run in this folder is of another configuration:",
        *lines,
    ]
    assert {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*")} == before
