"""Attempts at a cell of a sweep: whether it is to be run, and the note of what became of it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from light_peft.artifacts import RECORD, RunRecord
from light_peft.config import Config
from light_peft.opening import OtherRunError, begin_anew, finished_record, lock_folder
from light_peft.sweeps.cells import (
    BROKEN,
    FINISHED,
    Failure,
    failure_of,
    first_line,
    forget_failure,
    key_of,
    note_failure,
)


class LeftError(ValueError):
    """A cell has failed as often as it may, and is left as it is; it fails once more without being run."""


class ChangedError(ValueError):
    """The run of a cell is there, and is of another configuration: what its words compose to has changed since."""


def begin(sweep: Path, words: Sequence[str], config: Config) -> RunRecord | None:
    """Return the record of a cell if it has finished before; None if it shall be run.

    A run that was cut short stays as it is, to go on; of one that has failed nothing stays but its log.

    Args:
        sweep: Folder of the sweep.
        words: What the cell was asked for with.
        config: What they compose to; `run_dir` is its folder.

    Raises:
        LeftError: If it has failed 1 + `sweep.retry` times.
        ChangedError: If the run in its folder is of another configuration.
        BusyError: If another process is at work in its folder.
        ValueError: If its folder cannot be used.
    """
    assert config.run_dir is not None
    folder = Path(config.run_dir)
    record = _record_in(folder)
    if (note := _last_failure(sweep, words, record)) is not None:
        _try_again(sweep, note, config.sweep.retry)
    if folder.exists():
        lock_folder(folder).close()  # nobody else is at work in it
        if record is None or record.status == BROKEN:
            begin_anew(folder)
    try:
        before = finished_record(folder, config)
    except OtherRunError as error:
        raise ChangedError(
            f"{folder}: the run of this cell is of another configuration, for what its words stand for has changed "
            f"since (a file below conf/, a default):\n{error.differing}\n"
            "remove the folder to run the cell anew, or name another one for the sweep with hydra.sweep.dir="
        ) from error
    if before is not None:
        succeed(sweep, words)
    return before


def succeed(sweep: Path, words: Sequence[str]) -> None:
    """Note that a cell has finished."""
    forget_failure(sweep, key_of(words))


def fail(sweep: Path, words: Sequence[str], error: str, code: int) -> None:
    """Note that an attempt at a cell has failed."""
    note = failure_of(sweep, key_of(words))
    note_failure(sweep, Failure(list(words), error, code, 1 + (note.attempts if note is not None else 0)))


def _last_failure(sweep: Path, words: Sequence[str], record: RunRecord | None) -> Failure | None:
    """Return the failure of the last attempt; None if it has finished, was cut short, or there was none."""
    note = failure_of(sweep, key_of(words))
    if record is not None and record.status == FINISHED:
        return None
    if record is not None and record.status == BROKEN:
        if note is None:  # begun by itself, or by a sweep that was killed before it could note the failure
            return Failure(list(words), record.error or "failed", code=1, attempts=1)
        return replace(note, attempts=note.attempts + 1) if note.again else note
    return note if note is not None and not note.again else None


def _try_again(sweep: Path, note: Failure, retry: int) -> None:
    """Note that what has failed is tried again, if it may be."""
    if note.attempts > retry:
        often = "once" if note.attempts == 1 else f"{note.attempts} times"
        advice = f"sweep.retry={note.attempts} tries it once more"
        raise LeftError(f"{first_line(note.error)} (failed {often}, left as it is; {advice})")
    note_failure(sweep, replace(note, again=True))


def _record_in(folder: Path) -> RunRecord | None:
    """Return the record that is there; None if there is none, or it cannot be read, which the run itself mends."""
    try:
        return RunRecord.read(folder) if (folder / RECORD).exists() else None
    except ValueError:
        return None
