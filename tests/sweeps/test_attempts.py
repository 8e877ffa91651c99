"""Whether a cell is run: not if it has finished, anew if it has failed, and not too often."""

from dataclasses import replace
from pathlib import Path

import pytest

from light_peft.artifacts import CHECKPOINTS, LOG, RunRecord
from light_peft.config import Config
from light_peft.opening import BusyError, lock_folder
from light_peft.sweeps.attempts import ChangedError, LeftError, begin, fail, succeed
from light_peft.sweeps.cells import failure_of, key_of
from opening_cases import config, leave, reopened

WORDS = ("seed=1", "train.max_steps=8")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of the cell's run."""
    return tmp_path / "sweep" / "run"


def wanted(run: Path, *, retry: int = 3, steps: int = 8) -> Config:
    asked = config(str(run), steps=steps)
    return replace(asked, sweep=replace(asked.sweep, retry=retry))


def left(run: Path, status: str) -> None:
    """Leave a run behind with a checkpoint and a log."""
    leave(status, str(run))
    (run / CHECKPOINTS / "000001-train-2").mkdir(parents=True)
    (run / LOG).write_text("what happened\n")


def attempts(run: Path) -> int | None:
    note = failure_of(run.parent, key_of(WORDS))
    return note.attempts if note is not None else None


def test_a_cell_that_has_not_begun_is_run(run: Path) -> None:
    assert begin(run.parent, WORDS, wanted(run)) is None
    assert not run.exists()


def test_a_finished_one_is_not_run_and_its_note_goes(run: Path) -> None:
    leave("finished", str(run))
    fail(run.parent, WORDS, "once", 2)
    found = begin(run.parent, WORDS, wanted(run, retry=0))
    assert found == RunRecord.read(run)
    assert attempts(run) is None


@pytest.mark.parametrize("status", ["interrupted", "running"])
def test_one_that_was_cut_short_goes_on(run: Path, status: str) -> None:
    left(run, status)
    assert begin(run.parent, WORDS, wanted(run, retry=0)) is None
    assert (run / CHECKPOINTS).exists()
    assert not reopened(wanted(run)).is_finished


def test_one_that_has_failed_begins_anew_and_keeps_its_log(run: Path) -> None:
    left(run, "failed")
    assert begin(run.parent, WORDS, wanted(run, steps=9)) is None  # its settings may have been mended
    assert sorted(path.name for path in run.iterdir()) == ["run.lock", LOG]
    assert not reopened(wanted(run, steps=9)).is_finished


def test_attempts_are_counted_over_all_calls(run: Path) -> None:
    for number in range(1, 4):
        assert begin(run.parent, WORDS, wanted(run, retry=2)) is None
        left(run, "failed")
        fail(run.parent, WORDS, f"error {number}:\nmore", 2)
        assert attempts(run) == number
    message = r"^error 3 \(failed 3 times, left as it is; sweep\.retry=3 tries it once more\)$"
    with pytest.raises(LeftError, match=message):
        begin(run.parent, WORDS, wanted(run, retry=2))
    assert (run / CHECKPOINTS).exists()
    assert begin(run.parent, WORDS, wanted(run, retry=3)) is None
    succeed(run.parent, WORDS)
    assert attempts(run) is None


def test_a_failure_that_nobody_could_note_counts(run: Path) -> None:
    left(run, "failed")
    with pytest.raises(LeftError, match=r"failed once.*sweep\.retry=1"):
        begin(run.parent, WORDS, wanted(run, retry=0))
    fail(run.parent, WORDS, "first", 2)
    assert begin(run.parent, WORDS, wanted(run, retry=1)) is None
    left(run, "failed")  # the second attempt; the sweep was killed before it could say so
    with pytest.raises(LeftError, match="failed 2 times"):
        begin(run.parent, WORDS, wanted(run, retry=1))


def test_a_second_attempt_that_was_cut_short_goes_on(run: Path) -> None:
    left(run, "failed")
    fail(run.parent, WORDS, "first", 2)
    assert begin(run.parent, WORDS, wanted(run, retry=1)) is None
    left(run, "interrupted")
    assert begin(run.parent, WORDS, wanted(run, retry=1)) is None
    assert (run / CHECKPOINTS).exists()


def test_an_attempt_that_failed_before_its_run_opened_leaves_an_older_checkpoint(run: Path) -> None:
    left(run, "interrupted")
    fail(run.parent, WORDS, "runtime.device=cuda: not there", 2)
    assert begin(run.parent, WORDS, wanted(run)) is None
    assert (run / CHECKPOINTS).exists()


@pytest.mark.parametrize("status", ["finished", "interrupted"])
def test_a_cell_that_means_something_else_now_is_refused(run: Path, status: str) -> None:
    leave(status, str(run))
    with pytest.raises(ChangedError, match="run of this cell is of another configuration") as caught:
        begin(run.parent, WORDS, wanted(run, steps=9))
    assert "  train.max_steps is 8 there and 9 now\nremove the folder" in str(caught.value)
    assert "run_dir" not in str(caught.value)


def test_a_cell_that_another_process_is_at_is_left_alone(run: Path) -> None:
    left(run, "failed")
    with lock_folder(run), pytest.raises(BusyError, match="another process is at work in it"):
        begin(run.parent, WORDS, wanted(run))
    assert (run / CHECKPOINTS).exists()
