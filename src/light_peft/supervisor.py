"""The processes of a run on this machine: started together, watched, ended together."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from light_peft.launchers import STALE

ERROR_FILE = "LIGHT_PEFT_ERROR_FILE"
"""Environment variable: where a worker writes what went wrong."""
POLL_SECONDS = 0.05
FAILURE_SECONDS = 1.0
"""How long the others may take to end by themselves once one has failed; they wait for it in vain."""
STOP_SECONDS = 120.0
"""How long all may take to write a checkpoint once a signal has asked them to end."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class WorkerDied(RuntimeError):  # noqa: N818 (what happened, like Interrupted)
    """A process of a run has ended too early; the message says which, how, and what it left to read."""


class Workers:
    """The processes of one run; they end with this process, however it ends.

    Each finds its group by the environment variables of torch. Its standard input is a pipe held here: once that
    is closed, nobody waits for it any more. What any but the first prints is kept, to be shown if it fails.
    """

    def __init__(self, words: list[str], count: int, threads: int, folder: Path) -> None:
        """Start `count` times the command `words` with `threads` threads each; `folder` is for what they report."""
        from torch.distributed import TCPStore  # type: ignore[attr-defined]  # not in its __all__

        self._folder, self._count = folder, count
        self._store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # keeps its port: no race
        self._killed: set[int] = set()
        self._asked: list[int] = []
        shared = {name: value for name, value in os.environ.items() if not STALE.search(name)}
        shared.setdefault("OMP_NUM_THREADS", str(threads))
        outputs = [None, *(folder / f"{rank}.out" for rank in range(1, count))]
        self._processes = [
            self._start(words, rank, shared | self._group(rank), output) for rank, output in enumerate(outputs)
        ]

    def _group(self, rank: int) -> dict[str, str]:
        """Return what a member of the group finds the others by."""
        return {
            "MASTER_ADDR": self._store.host,
            "MASTER_PORT": str(self._store.port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",  # the store is here already
            "TORCHELASTIC_RESTART_COUNT": "0",
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(self._count),
            "LOCAL_WORLD_SIZE": str(self._count),
        }

    def _start(
        self, words: list[str], rank: int, environment: Mapping[str, str], output: Path | None
    ) -> subprocess.Popen[bytes]:
        """Start a process; what it prints goes into the file `output`, or to where this one prints."""
        with _output(output) as file:
            return subprocess.Popen(
                words,
                env={**environment, ERROR_FILE: str(self._error_file(rank))},
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                start_new_session=True,  # Ctrl-C comes once, from here
            )

    def wait(self, asked_elsewhere: Callable[[], int | None] = lambda: None) -> None:
        """Wait until all have ended; where one fails, or this process is asked to end, all do.

        Args:
            asked_elsewhere: Gives a signal once this process is asked to end in another way than by one.
        """
        signals: list[int] = []
        deadline = float("inf")
        try:
            with _signals_to(lambda signum, _: signals.append(signum)):
                while self._running():
                    if not self._asked and (signum := asked_elsewhere()) is not None:
                        signals.append(signum)
                    if signals:
                        self._asked.append(signals.pop(0))
                        self._send(signal.SIGTERM)  # which, other than SIGINT, ends one that is still starting, too
                        deadline = min(deadline, time.monotonic() + STOP_SECONDS)
                    if any(code is not None and self._is_failure(code) for code in self._codes()):
                        deadline = min(deadline, time.monotonic() + FAILURE_SECONDS)
                    if time.monotonic() > deadline:
                        break
                    time.sleep(POLL_SECONDS)
        finally:
            self._end()

    def stopped_by(self) -> int | None:
        """Return the signal that made the workers end before they had finished; None where none did."""
        stops: dict[int | None, int] = {128 + signum: int(signum) for signum in SIGNALS}
        if self._asked:
            stops |= dict.fromkeys((*stops, -int(signal.SIGTERM)), self._asked[0])
        return next((stops[code] for code in self._codes() if code in stops), None)

    def _is_failure(self, code: int) -> bool:
        """Whether a worker that ends so has failed, and not only done what it was asked for."""
        asked = (-signal.SIGTERM,) if self._asked else ()
        return code not in (0, *asked, *(128 + signum for signum in SIGNALS))

    def _codes(self) -> list[int | None]:
        return [process.poll() for process in self._processes]

    def _running(self) -> list[int]:
        return [rank for rank, code in enumerate(self._codes()) if code is None]

    def _send(self, signum: int) -> None:
        for rank in self._running():
            self._processes[rank].send_signal(signum)

    def _end(self) -> None:
        self._killed |= set(self._running())
        self._send(signal.SIGKILL)
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()

    def first_failure(self) -> int | None:
        """Return the rank of the worker that failed first, once all have ended; None if none has by itself.

        One that was killed comes before those that tell of an error, which then is that of having lost it; so is the
        error of those that a signal from here came too early or too late for.
        """
        if self._asked and self.stopped_by() is not None:
            return None
        codes = {rank: process.returncode for rank, process in enumerate(self._processes)}
        failed = [rank for rank, code in codes.items() if self._is_failure(code) and rank not in self._killed]
        return min(failed, key=lambda rank: (codes[rank] >= 0, self._error(rank).get("time", 0.0)), default=None)

    def user_error(self, rank: int) -> str | None:
        """Return the message where the worker ended because something was wrong with what was asked for."""
        return self._error(rank).get("message") if self._processes[rank].returncode == 2 else None

    def explain(self, rank: int) -> tuple[str, str]:
        """Return in one line how a worker failed, and all that it left to read."""
        code, error = self._processes[rank].returncode, self._error(rank)
        who = self._name(rank)
        if code < 0:
            short = f"{who} was killed by {signal.Signals(-code).name}"
            hint = " (perhaps by the system, for want of memory)" if -code == signal.SIGKILL else ""
            return short, short + hint + self._printed(rank)
        if "message" in error:
            return f"{who} failed: {error['message']}", f"{who} failed:\n{error['traceback']}".rstrip()
        return f"{who} ended with exit code {code}", f"{who} ended with exit code {code}{self._printed(rank)}"

    def _name(self, rank: int) -> str:
        return f"process {rank + 1} of {self._count} (rank {rank})"

    def _error_file(self, rank: int) -> Path:
        return self._folder / f"{rank}.json"

    def _error(self, rank: int) -> dict[str, Any]:
        """Return what the worker has reported; empty where it had no time to."""
        path = self._error_file(rank)
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return found

    def _printed(self, rank: int) -> str:
        """Return the last lines that a worker has printed, where they were kept."""
        path = self._folder / f"{rank}.out"
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-20:] if path.exists() else []
        return "".join(f"\n{line}" for line in lines)


class Alone(Workers):
    """One process that is a member of no group, or of the one that this process is in already."""

    def __init__(self, words: list[str], folder: Path, *, is_quiet: bool) -> None:
        """Start the command `words`; `folder` is for what it reports and, with `is_quiet`, for what it prints."""
        self._folder, self._count = folder, 1
        self._killed, self._asked = set(), []
        self._processes = [self._start(words, 0, os.environ, folder / "0.out" if is_quiet else None)]

    def _name(self, rank: int) -> str:
        return "its process"


@contextmanager
def _output(path: Path | None) -> Iterator[IO[bytes] | None]:
    if path is None:
        sys.stdout.flush()
        sys.stderr.flush()
        yield None
        return
    with path.open("wb") as file:
        yield file


@contextmanager
def _signals_to(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Give SIGINT and SIGTERM to `handler` within the block; only a main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signum: signal.signal(signum, handler) for signum in SIGNALS}
    try:
        yield
    finally:
        for signum, old in before.items():
            signal.signal(signum, old)
