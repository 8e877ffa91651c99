"""The cells of a sweep: what was asked for, and what became of each.

A sweep is a folder. Its file `sweep.json` names every cell that was ever asked for there, by the words of the command
line; each cell has a run folder below it, and what failed has left a note in `failed/`. All of it can be read while
the sweep goes on, by anyone.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from light_peft.artifacts import RECORD, RunRecord, read_json, write_json
from light_peft.config import Config
from light_peft.opening import NOT_COMPARED

SWEEP = "sweep.json"
FAILED = "failed"
"""Folder of a sweep with a note for each cell that has failed."""
FINISHED, MISSING, BROKEN = "finished", "missing", "failed"


@dataclass(frozen=True)
class Failure:
    """What a sweep notes of a cell that has failed: also of one that never got as far as a run folder."""

    words: list[str]
    error: str
    code: int
    attempts: int


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
        if self.failure is not None:
            return BROKEN
        return self.record.status if self.record is not None else MISSING

    @property
    def error(self) -> str | None:
        """What went wrong, in one line; None where nothing has."""
        if self.status == FINISHED:
            return None
        found = (
            self.failure.error if self.failure is not None else self.record.error if self.record is not None else None
        )
        return found.splitlines()[0] if found else None

    @property
    def command(self) -> str:
        """The command that runs this cell alone, without its folder."""
        return shlex.join(["python", "-m", "run", *(self.words or (self.record.words if self.record else ()))])


def key_of(words: Iterable[str]) -> str:
    """Return what tells a cell from others: 8 hexadecimal digits of the words that matter, in whatever order."""
    telling = sorted(word for word in words if not is_inert(word))
    return hashlib.sha256("\n".join(telling).encode()).hexdigest()[:8]


def label_of(config: Config) -> str:
    """Return what the run folder of a cell is named by, before its key: task, model, PEFT kind and seed."""
    return f"{config.task.name}-{config.model.name}-{config.peft.kind}-seed{config.seed}"


def folder_of(sweep: Path, label: str, words: Iterable[str]) -> Path:
    """Return the run folder of a cell of a sweep: the same words have the same one, whoever asks for them."""
    return sweep / f"{re.sub(r'[^A-Za-z0-9_.=-]+', '_', label)}-{key_of(words)}"


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
    folder.mkdir(parents=True, exist_ok=True)
    before = asked_of(folder)
    known = {key_of(words) for words in before}
    commands: list[str] = read_json(folder / SWEEP)["commands"] if (folder / SWEEP).exists() else []
    commands += [command] if command not in commands else []
    new = [list(words) for words in cells if key_of(words) not in known]
    write_json(folder / SWEEP, {"commands": commands, "cells": [*map(list, before), *new]})


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


def is_inert(word: str) -> bool:
    """Whether a word changes nothing of what a run finds."""
    key = word.lstrip("+~").split("=", 1)[0]
    return any(key == name or key.startswith(f"{name}.") for name in NOT_COMPARED)


def _cells_below(folder: Path) -> Iterator[Cell]:
    runs = {path.parent: _record_in(path.parent) for path in sorted(folder.rglob(RECORD))}
    for sweep in sorted(path.parent for path in folder.rglob(SWEEP)):
        own = {run.name.rsplit("-", 1)[-1]: run for run in runs if run.parent == sweep}
        for words in asked_of(sweep):
            key = key_of(words)
            run = own.get(key)
            yield Cell(key, words, run, runs.pop(run) if run is not None else None, failure_of(sweep, key))
    for run, record in runs.items():
        yield Cell(str(run), tuple(record.words) if record is not None else (), run, record)


def _record_in(folder: Path) -> RunRecord | None:
    try:
        return RunRecord.read(folder)
    except ValueError:
        return None
