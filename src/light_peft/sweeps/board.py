"""What the jobs of one sweep command tell the process that started them: what has begun, and what came of it.

A board is a folder of temporary files; its name is in the environment, so that jobs in whatever processes of this
machine find it. It lasts as long as the command; what is to stay is in the folder of the sweep.
"""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from light_peft.artifacts import RunRecord
from light_peft.sweeps.cells import ask, first_line, key_of

VARIABLE = "LIGHT_PEFT_SWEEP"
"""Environment variable with the folder of the board."""
DONE, REUSED, FAILED, INTERRUPTED = "done", "reused", "failed", "interrupted"
"""What comes of a cell: it has finished now, or had before; it has failed; the sweep was told to end."""


@dataclass(frozen=True)
class Begun:
    """A cell at whose beginning a job has arrived, in seconds since the epoch."""

    words: list[str]
    folder: str
    time: float


@dataclass(frozen=True)
class Outcome:
    """What came of a cell.

    Attributes:
        kind: One of the four above.
        code: Exit code that stands for it.
        error: What went wrong, in one line.
        result: The score and the share of the blocks that is left, in words; empty where there is none.
        seconds: What the run took, all its parts together; 0 where it has not finished.
        time: When it was known, in seconds since the epoch.
        is_of_other_code: It had finished before, at another commit or with other uncommitted changes.
    """

    kind: str
    code: int = 0
    error: str = ""
    result: str = ""
    seconds: float = 0.0
    time: float = 0.0
    is_of_other_code: bool = False


def finished(record: RunRecord, *, before: bool, is_of_other_code: bool = False) -> Outcome:
    """Return the outcome that is a finished run; with `before` it had been finished when it was asked for."""
    counts = record.parameters
    kept = f", {counts['blocks_after'] / counts['blocks_before']:.1%} of the blocks" if counts else ""
    result = f"{record.primary_metric} {record.score:.4f}{kept}" if record.score is not None else ""
    seconds = float(record.totals.get("seconds", 0.0))
    kind = REUSED if before else DONE
    return Outcome(kind, 0, "", result, seconds, time.time(), is_of_other_code)


def failed(error: str, code: int) -> Outcome:
    """Return the outcome that is a failure."""
    return Outcome(FAILED, code, first_line(error), time=time.time())


def interrupted(code: int) -> Outcome:
    """Return the outcome of a cell that was cut short, or not begun, because the sweep was told to end."""
    return Outcome(INTERRUPTED, code, time=time.time())


class Board:
    """The board of a sweep command, as its jobs and the command itself see it."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`, which is there."""
        self.folder = folder

    @classmethod
    def here(cls) -> "Board | None":
        """Return the board of the sweep that this process belongs to; None if nobody watches."""
        folder = Path(os.environ.get(VARIABLE, ""))
        return cls(folder) if VARIABLE in os.environ and folder.is_dir() else None

    def plan(self, cells: Sequence[Sequence[str]], command: str) -> None:
        """Let the first job that begins note in the folder of the sweep that these cells are asked for.

        Not before: by then it is known that all of them can be composed.
        """
        self._write("plan", {"cells": [list(words) for words in cells], "command": command})

    def begin(self, sweep: Path, words: Sequence[str]) -> None:
        """Say that a job has arrived at a cell; now it and what else is planned is noted as asked for."""
        plan = self._read("plan")
        assert plan is not None
        ask(sweep, [*plan["cells"], words], plan["command"])
        self._write(f"{key_of(words)}.begun", asdict(Begun(list(words), "", time.time())))

    def place(self, words: Sequence[str], folder: str) -> None:
        """Say where the run of a cell that has begun will be."""
        name = f"{key_of(words)}.begun"
        self._write(name, {**(self._read(name) or {}), "folder": folder})

    def end(self, words: Sequence[str], outcome: Outcome) -> None:
        """Say what came of a cell."""
        self._write(f"{key_of(words)}.ended", asdict(outcome))

    def begun(self) -> dict[str, Begun]:
        """Return the cells that have begun, by key, the first one first."""
        found = {path.stem: Begun(**values) for path in self._all("begun") if (values := self._read(path.name))}
        return dict(sorted(found.items(), key=lambda pair: pair[1].time))

    def ended(self) -> dict[str, Outcome]:
        """Return what came of cells, by key, the first one first."""
        found = {path.stem: Outcome(**values) for path in self._all("ended") if (values := self._read(path.name))}
        return dict(sorted(found.items(), key=lambda pair: pair[1].time))

    def stop(self, signum: int) -> None:
        """Ask all jobs to end as this signal would."""
        self._write("stop", {"signal": int(signum)})

    def stopped_by(self) -> int | None:
        """Return the signal that all jobs shall end by; None while they may go on."""
        values = self._read("stop")
        return int(values["signal"]) if values is not None else None

    def _all(self, kind: str) -> list[Path]:
        return list(self.folder.glob(f"*.{kind}"))

    def _write(self, name: str, values: dict[str, object]) -> None:
        """Write a file that is never seen half-written; it need not outlast this machine."""
        temporary = self.folder / f".{name}.{os.getpid()}"
        temporary.write_text(json.dumps(values), encoding="utf-8")
        temporary.replace(self.folder / name)

    def _read(self, name: str) -> dict[str, Any] | None:
        path = self.folder / name
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
