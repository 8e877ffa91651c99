"""A cell of a sweep, in the process of its job."""

import os
import signal
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from light_peft import launchers
from light_peft.artifacts import RunRecord
from light_peft.checkout import git_state
from light_peft.config import Config, config_from_dict
from light_peft.door.saying import USER_ERRORS, JobFailed, code_of, explain, print_error
from light_peft.imports import uncollected
from light_peft.interrupts import Interrupted, Interrupts
from light_peft.isolation import run_isolated
from light_peft.opening import BusyError
from light_peft.supervisor import WorkerDied
from light_peft.sweeps import attempts
from light_peft.sweeps.attempts import ChangedError, LeftError
from light_peft.sweeps.board import Board, Outcome, failed, finished, interrupted
from light_peft.sweeps.cells import folder_name

ESTIMATES = "estimates"
"""Folder of a sweep that holds the estimations which its runs share."""
UNTOUCHED = (LeftError, ChangedError, BusyError)
"""Errors of a cell of which nothing was tried: they are not noted as one more failure."""
POLL_SECONDS = 0.5


def run_here(config: Config, console: Console, words: Sequence[str]) -> RunRecord:
    """Run the whole method in this process, or in as many as it takes, and show its record; return it."""
    with uncollected():
        from light_peft.launch import run_whole
        from light_peft.report.table import show_record

    record, folder = run_whole(config, console, words)
    show_record(console, record, folder)
    return record


def is_basic(hydra: Any) -> bool:
    """Whether the sweeper is Hydra's own, which takes every combination of the values."""
    return str(hydra.sweeper._target_).endswith(".BasicSweeper")


class Cell:
    """The job of a sweep that this process has before it."""

    def __init__(self, composed: DictConfig, hydra: Any, words: Sequence[str]) -> None:
        """Take what was composed of `words` for it, and Hydra's part of that."""
        self._composed, self._hydra, self._words = composed, hydra, words
        self._sweep = Path(hydra.sweep.dir)
        self._board = Board.here() if launchers.rank() == 0 else None
        self._is_quiet = self._board is not None and composed.sweep.show == "table"

    def run(self) -> float | None:
        """Run the cell unless it has finished before; return its score, or None where it has none.

        Raises:
            Interrupted: If this process was told to end.
            JobFailed: If it has failed and the sweeper would take a missing score for one.
        """
        if self._board is not None and self._board.stopped_by() is not None:
            return None
        try:
            return self._score()
        except (Interrupted, KeyboardInterrupt) as error:
            self._tell(interrupted(int(getattr(error, "exit_code", 130))))
            with suppress(AttributeError):
                del error.__notes__  # of the run alone: the sweep says how to go on
            if self._board is None or self._board.stopped_by() is None:
                raise
            return None  # all the others end, too, and the process that has started them knows
        except Exception as error:  # whatever it is, the other cells go on
            self._fail(error)
            if is_basic(self._hydra):
                return None
            raise JobFailed(code_of(error)) from None

    def _score(self) -> float | None:
        if self._board is not None:
            self._board.begin(self._sweep, self._words)
        config = self._config()
        assert config.run_dir is not None
        if self._board is not None:
            self._board.place(self._words, config.run_dir)
        record = attempts.begin(self._sweep, self._words, config) if launchers.group_size() == 1 else None
        if record is not None:
            self._tell(finished(record, before=True, is_of_other_code=record.git != git_state()))
            if not self._is_quiet:
                Console().print(f"finished before: {config.run_dir}", highlight=False, soft_wrap=True)
            return record.score
        record = self._run(config)
        if launchers.rank() == 0:
            attempts.succeed(self._sweep, self._words)
        self._tell(finished(record, before=False))
        return record.score

    def _config(self) -> Config:
        """Return the settings of the run; its folder is below that of the sweep."""
        values: dict[str, Any] = OmegaConf.to_container(self._composed, resolve=True)  # type: ignore[assignment]
        subdir = str(self._hydra.sweep.subdir)
        name = subdir if subdir != "." else folder_name(values, self._words)
        values["run_dir"] = values["run_dir"] or str(self._sweep / name)
        if values["estimate"]["reuse"] == "auto":
            values["estimate"]["reuse"] = str(self._sweep / ESTIMATES)
        return config_from_dict(values)

    def _run(self, config: Config) -> RunRecord:
        """Run it, in a process of its own where that is asked for and this one is not its own already."""
        if self._board is not None and config.sweep.isolate and not launchers.is_in_group():
            stopped_by = self._board.stopped_by
            return run_isolated(config, self._words, is_quiet=self._is_quiet, stopped_by=stopped_by)[0]
        is_joblib = "joblib" in str(self._hydra.launcher._target_)
        with _ended_by(self._board if is_joblib else None):
            return run_here(config, Console(quiet=self._is_quiet or launchers.rank() != 0), self._words)

    def _tell(self, outcome: Outcome) -> None:
        if self._board is not None:
            self._board.end(self._words, outcome)

    def _fail(self, error: Exception) -> None:
        """Note that the cell has failed, and say so unless someone watches."""
        is_defect = not isinstance(error, (*USER_ERRORS, WorkerDied))
        message = f"{type(error).__name__}: {error}" if is_defect else explain(error)
        if launchers.rank() == 0 and not isinstance(error, UNTOUCHED):
            trace = "\n" + "".join(traceback.format_exception(error)) if is_defect else ""
            attempts.fail(self._sweep, self._words, message + trace, code_of(error))
        self._tell(failed(message, code_of(error)))
        if not self._is_quiet:
            print_error(f"{message}\n(cell {' '.join(self._words)})")


@contextmanager
def _ended_by(board: Board | None) -> Iterator[None]:
    """Let the signal that stops a sweep come to this process, within the block, where the terminal's does not."""
    if board is None:
        yield
        return
    over = threading.Event()

    def watch() -> None:
        while not over.wait(POLL_SECONDS):
            if board.stopped_by() is not None:
                os.kill(os.getpid(), signal.SIGTERM)
                return

    thread = threading.Thread(target=watch, name="stop", daemon=True)
    with Interrupts():
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
