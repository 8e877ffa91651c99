"""A sweep in the process that was asked for it: what it is made of, who watches it, and how it ends."""

import contextlib
import os
import shlex
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from light_peft.door.cell import is_basic
from light_peft.door.choices import as_typed
from light_peft.door.saying import FAILURES
from light_peft.interrupts import ECHO_SECONDS, Interrupted, Interrupts
from light_peft.sweeps.board import DONE, FAILED, REUSED, VARIABLE, Board, Outcome, failed, finished
from light_peft.sweeps.cells import FAILED as NOTES
from light_peft.sweeps.cells import FINISHED, Cell, ask, key_of, read_cells
from light_peft.sweeps.table import names_of
from light_peft.sweeps.watch import Watch, show_on
from light_peft.validation import CHOICES

COMMAND: list[str] = []
"""The words behind `python -m run` as they were typed."""
OPEN: list["Sweep"] = []
"""The sweep that goes on in this process, if any."""


class Refused(BaseException):
    """A sweep cannot begin; its cause says why. Of an `Exception` in a callback Hydra makes a warning."""


class SweepEvents(Callback):
    """Tells this process when Hydra begins a sweep."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Begin to watch the sweep."""
        try:
            if config.evaluate is None:
                OPEN.append(Sweep(config))
                OPEN[0].begin()
        except Exception as error:
            raise Refused from error


@contextlib.contextmanager
def with_its_end() -> Iterator[None]:
    """Bring to its end, however the block is left, the sweep that begins in it.

    If a cell was interrupted or has failed, its exit code is among `FAILURES`.
    """
    try:
        yield
    except BaseException:
        if OPEN:
            OPEN.pop().end()
        raise
    if OPEN and (code := OPEN.pop().end()):
        FAILURES.append(code)


def cells_of(words: Sequence[str], params: dict[str, Any] | None = None) -> list[list[str]]:
    """Return the words of each cell that Hydra makes of those of a sweep, in its order."""
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    parsed = parser.parse_overrides([*(f"{key}={value}" for key, value in (params or {}).items()), *words])
    return [cell for batch in BasicSweeper.split_arguments(parsed, None) for cell in batch]


class Sweep:
    """A sweep from its beginning to its end; the signals that end it come here first."""

    def __init__(self, config: DictConfig) -> None:
        """Take its settings.

        Raises:
            ValueError: If one of them is not allowed.
        """
        hydra, wanted = config.hydra, config.sweep
        if wanted.show not in CHOICES["sweep.show"]:
            raise ValueError(f"sweep.show={wanted.show}: unknown. There are: {', '.join(CHOICES['sweep.show'])}")
        self._folder, self._launcher, self._show = Path(hydra.sweep.dir), str(hydra.launcher._target_), wanted.show
        params = OmegaConf.to_container(hydra.sweeper.params) if hydra.sweeper.get("params") else None
        composable = cells_of(hydra.overrides.task, params) if is_basic(hydra) else []  # type: ignore[arg-type]
        if "submitit" in self._launcher:  # elsewhere it shows with the first job
            for words in composable:
                GlobalHydra.instance().config_loader().load_sweep_config(config, words)
        self._cells = list(map(as_typed, composable))
        self._console = Console(stderr=True)
        self._last, self._exits = -ECHO_SECONDS, contextlib.ExitStack()
        self._board: Board | None = None
        self._watch: Watch | None = None

    def begin(self) -> None:
        """Begin to watch; from here on the environment tells jobs on this machine where to report to."""
        command = shlex.join(["python", "-m", "run", *COMMAND])
        if "submitit" in self._launcher:
            ask(self._folder, self._cells, command)
            self._say(f"no table of jobs elsewhere; how they stand: python -m light_peft.report {self._folder}")
            return
        place = tempfile.TemporaryDirectory(prefix="light-peft-sweep-")
        self._board = Board(Path(self._exits.enter_context(place)))
        self._board.plan(self._cells, command)
        os.environ[VARIABLE] = str(self._board.folder)
        self._exits.callback(os.environ.pop, VARIABLE, None)
        self._watch = Watch(self._board, self._cells, show_on(self._console, self._show))
        self._watch.start()
        self._exits.enter_context(self._stopping() if "joblib" in self._launcher else Interrupts())

    @contextlib.contextmanager
    def _stopping(self) -> Iterator[None]:
        """Let SIGINT and SIGTERM ask the jobs in other processes to end, which then have the time for it.

        The processes of joblib are started with SIGINT blocked, as it is in this thread, so that the terminal's
        does not kill them; that of the watch takes it for this process.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {signum: signal.signal(signum, self._receive) for signum in (signal.SIGINT, signal.SIGTERM)}
        resource_tracker.ensure_running()  # its start, which joblib's brings about, would undo the block
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def _receive(self, signum: int, frame: object) -> None:
        now = time.monotonic()
        if now - self._last < ECHO_SECONDS:
            return
        self._last = now
        assert self._board is not None
        if self._board.stopped_by() is not None:
            raise Interrupted(signum)
        self._board.stop(signum)

    def end(self) -> int:
        """Stop watching and say what has become of the sweep; return its exit code: 0 if all cells have finished."""
        if self._watch is not None:
            self._watch.close()
        is_broken_off = sys.exc_info()[0] is not None
        signum = self._board.stopped_by() if self._board is not None else None
        cut_short = signum is not None or is_broken_off
        outcomes = self._told() or ({} if cut_short else self._read())
        began = bool(outcomes) or (self._board is not None and bool(self._board.begun()))
        self._exits.close()
        if is_broken_off and not began:  # it could not be composed, say
            return 0
        self._sum_up(outcomes, cut_short=cut_short)
        if signum is not None:
            return 128 + signum
        return next((outcome.code for outcome in outcomes.values() if outcome.code), 0)

    def _told(self) -> dict[str, Outcome]:
        """Return what came of each cell of this command, by key, as its jobs have told."""
        found = self._board.ended() if self._board is not None else {}
        keys = [key_of(words) for words in self._cells]
        return {key: found[key] for key in [*keys, *(key for key in found if key not in keys)] if key in found}

    def _read(self) -> dict[str, Outcome]:
        """Return what came of each cell of this command, by key, as the records say: of jobs that cannot tell."""
        keys = [key_of(words) for words in self._cells]
        with contextlib.suppress(ValueError):
            return {cell.key: _outcome_of(cell) for cell in read_cells([self._folder]) if cell.key in keys or not keys}
        return {}

    def _sum_up(self, outcomes: dict[str, Outcome], *, cut_short: bool) -> None:
        """Say what failed, what is left, and how to go on."""
        names = names_of(self._cells)
        count = max(len(names), len(outcomes))
        broken = {key: outcome for key, outcome in outcomes.items() if outcome.kind == FAILED}
        done = sum(outcome.kind in (DONE, REUSED) for outcome in outcomes.values())
        others = sum(outcome.is_of_other_code for outcome in outcomes.values())
        if others:
            self._say(f"{others} of the cells that had finished before are of another commit, or had other changes")
        if broken:
            head = f"{len(broken)} of {count} cells failed (in full: {self._folder / NOTES})"
            lines = [f"  {names.get(key) or key}: {outcome.error}" for key, outcome in broken.items()]
            # What each run shows has told of each error before.
            self._console.print("" if self._show == "runs" else "[bold red]error:[/] ", end="")
            self._say("\n".join([head, *lines]))
        left = f"{count - done} of {count} cells are left to do; " if cut_short else ""
        again = f"the same command with hydra.sweep.dir={self._folder} runs what has not finished"
        self._say(left + again if cut_short or broken else f"sweep: {self._folder}")

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True, markup=False)


def _outcome_of(cell: Cell) -> Outcome:
    """Return what came of a cell as its record and the sweep's notes tell."""
    if cell.status == FINISHED and cell.record is not None:
        return finished(cell.record, before=False)
    return failed(cell.error or cell.status, cell.failure.code if cell.failure is not None else 1)
