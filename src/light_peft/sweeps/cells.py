"""The cells of a sweep: what was asked for, and what became of each.

A sweep is a folder. Its file `sweep.json` names every cell that was ever asked for there, by the words of the command
line; each cell has a run folder below it, and what failed has left a note in `failed/`. All of it can be read while
the sweep goes on, by anyone.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from light_peft.artifacts import RECORD, RunRecord, read_json, write_json
from light_peft.settings import NOT_COMPARED
from light_peft.writing import written

SWEEP = "sweep.json"
SWEEP_LOCK = "sweep.lock"
"""File of a sweep that is locked while `sweep.json` is read and written anew."""
FAILED = "failed"
"""Folder of a sweep with a note for each cell that has failed."""
NOT_IN_NAMES = r"[^A-Za-z0-9_.-]+"
"""What a folder's name shall not hold: Hydra takes a `=` in it for a key."""
FINISHED, MISSING, BROKEN = "finished", "missing", "failed"


@dataclass(frozen=True)
class Failure:
    """What a sweep notes of a cell that has failed: also of one that never got as far as a run folder.

    Attributes:
        words: Those of the cell.
        error: The message of the last attempt that failed, or all that it left to read.
        code: Its exit code.
        attempts: How many have failed.
        again: Another attempt has begun since and has not failed; it was cut short if nobody is at work in the folder.
    """

    words: list[str]
    error: str
    code: int
    attempts: int
    again: bool = False


@dataclass(frozen=True)
class Cell:
    """One run that was asked for.

    Attributes:
        key: What tells it from the other cells of its sweep, see `key_of`.
        words: The words of the command line; none where a run was found that no sweep asked for.
        folder: Its run folder; None where there is none.
        record: Its record; None where it has not begun, or the record cannot be read.
        failure: The sweep's note, if it has failed.
    """

    key: str
    words: tuple[str, ...]
    folder: Path | None = None
    record: RunRecord | None = None
    failure: Failure | None = None

    @property
    def status(self) -> str:
        """The record's status (finished, failed, interrupted, running), or `missing` if it has not begun."""
        if self.record is not None and self.record.status == FINISHED:
            return FINISHED
        if self.failure is not None and not self.failure.again:
            return BROKEN
        return self.record.status if self.record is not None else MISSING

    @property
    def error(self) -> str | None:
        """What went wrong, in one line; None where nothing has."""
        if self.status == FINISHED:
            return None
        if self.failure is not None and not self.failure.again:
            return first_line(self.failure.error)
        return first_line(self.record.error) if self.record is not None and self.record.error else None

    @property
    def command(self) -> str:
        """The command that runs this cell alone, without its folder."""
        return shlex.join(["python", "-m", "run", *(self.words or (self.record.words if self.record else ()))])


def first_line(text: str) -> str:
    """Return the first line of a message, without the colon that announces more."""
    return (text.strip().splitlines() or [""])[0].rstrip(":")


def key_of(words: Iterable[str]) -> str:
    """Return what tells a cell from others: 8 hexadecimal digits of the words that matter, in whatever order."""
    telling = sorted(word for word in words if not _is_inert(word))
    return hashlib.sha256("\n".join(telling).encode()).hexdigest()[:8]


def folder_name(values: Mapping[str, Any], words: Iterable[str]) -> str:
    """Return the name of a cell's run folder: task, model, PEFT and seed of its composed values, and its key."""
    label = f"{values['task']['name']}-{values['model']['name']}-{values['peft']['kind']}-seed{values['seed']}"
    return f"{re.sub(NOT_IN_NAMES, '_', label)}-{key_of(words)}"


def read_cells(folders: Iterable[Path]) -> list[Cell]:
    """Return the cells of sweeps and the runs at or below the folders, each once: first those asked for, in that order.

    Raises:
        ValueError: If there is none, or a sweep's file is damaged.
    """
    folders = list(folders)
    found = [cell for folder in folders for cell in _cells_below(folder)]
    if not found:
        places = ", ".join(map(str, folders))
        raise ValueError(f"{places}: no run found (a run folder holds {RECORD}, a sweep's {SWEEP})")
    return found


def asked_of(folder: Path) -> list[tuple[str, ...]]:
    """Return the words of all cells that were asked for in the folder of a sweep; none if it is no sweep's.

    Raises:
        ValueError: If its file is damaged.
    """
    path = folder / SWEEP
    if not path.exists():
        return []
    values = read_json(path)
    try:
        return [tuple(map(str, words)) for words in values["cells"]]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def ask(folder: Path, cells: Sequence[Sequence[str]], command: str) -> None:
    """Note in the folder of a sweep that these cells are asked for, beside those that were before."""
    with _only_here(folder):
        before = asked_of(folder)
        cells_by_key = {key_of(words): list(words) for words in [*before, *cells]}
        commands: list[str] = read_json(folder / SWEEP)["commands"] if (folder / SWEEP).exists() else []
        new = [command] if command not in commands else []
        if new or len(cells_by_key) > len(before):
            write_json(folder / SWEEP, {"commands": commands + new, "cells": list(cells_by_key.values())})


@contextmanager
def _only_here(folder: Path) -> Iterator[None]:
    """Let no other process, that goes through here, work in the folder of a sweep within the block."""
    with written(folder / SWEEP_LOCK):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / SWEEP_LOCK).open("a", encoding="utf-8")
    with lock:
        with suppress(OSError, ImportError):  # a file system or a system without locks
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def note_failure(folder: Path, failure: Failure) -> None:
    """Note that a cell of the sweep in `folder` has failed."""
    place = folder / FAILED
    place.mkdir(parents=True, exist_ok=True)
    write_json(place / f"{key_of(failure.words)}.json", asdict(failure))


def failure_of(folder: Path, key: str) -> Failure | None:
    """Return what is noted of the failure of a cell; None if nothing is, or it cannot be read."""
    path = folder / FAILED / f"{key}.json"
    try:
        return Failure(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def forget_failure(folder: Path, key: str) -> None:
    """Remove the note, if there is one: the cell has finished."""
    (folder / FAILED / f"{key}.json").unlink(missing_ok=True)


def _is_inert(word: str) -> bool:
    """Whether a word changes nothing of what a run finds."""
    key = word.lstrip("+~").split("=", 1)[0]
    return any(key == name or key.startswith(f"{name}.") for name in NOT_COMPARED)


def _cells_below(folder: Path) -> Iterator[Cell]:
    runs = {path.parent: _record_in(path.parent) for path in sorted(folder.rglob(RECORD))}
    sweeps = sorted(path.parent for path in folder.rglob(SWEEP))
    places = {run: next((place for place in run.parents if place in sweeps), None) for run in runs}
    for sweep in sweeps:
        own = {_key_in(run, record): run for run, record in runs.items() if places[run] == sweep}
        for words in asked_of(sweep):
            key = key_of(words)
            run = own.get(key)
            yield Cell(key, words, run, runs.pop(run) if run is not None else None, failure_of(sweep, key))
    for run, record in runs.items():
        yield Cell(str(run), tuple(record.words) if record is not None else (), run, record)


def _key_in(run: Path, record: RunRecord | None) -> str:
    """Return the key of the cell that a run is: of its words, or as its folder's name has it behind the last `-`."""
    return key_of(record.words) if record is not None and record.words else run.name.rsplit("-", 1)[-1]


def _record_in(folder: Path) -> RunRecord | None:
    try:
        return RunRecord.read(folder)
    except ValueError:
        return None
