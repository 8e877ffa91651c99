"""SIGTERM and Ctrl-C: at once where nothing is lost by it, else when the work at hand says so."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)
ECHO_SECONDS = 1.0
"""A signal within this time of the one before is the same wish: a terminal sends Ctrl-C to all processes of a
run, and the launcher passes it on once more."""


class Interrupted(BaseException):
    """The run was asked to end by a signal; no error, so that nothing catches it by the way."""

    def __init__(self, signum: int) -> None:
        """Note the signal's number."""
        super().__init__(signal.Signals(signum).name)
        self.signum = signum

    @property
    def exit_code(self) -> int:
        """What shells make of an end by this signal: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.signum


class Interrupts:
    """Within it SIGTERM and SIGINT raise `Interrupted`, at once or, in a `deferred` block, where the block likes.

    Outside the main thread, where no handler can be installed, it changes nothing.
    """

    def __init__(self) -> None:
        """Install nothing yet."""
        self.requested: int | None = None
        self._depth = 0
        self._last = -ECHO_SECONDS
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        """Install the handlers."""
        if threading.current_thread() is threading.main_thread():
            self._before = {signum: signal.signal(signum, self._receive) for signum in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        """Put the handlers back that were there before."""
        for signum, handler in self._before.items():
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)  # None: not installed by Python
        self._before = {}

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Let the first signal within the block only set `requested`; the block looks at it and ends when it can.

        Raises:
            Interrupted: At a second signal at once; else at the end of the block, if there was a first.
        """
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        if self.requested is not None and not self._depth:
            raise Interrupted(self.requested)

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._last < ECHO_SECONDS:
            return
        self._last = now
        if self._depth and self.requested is None:
            self.requested = signum
            return
        raise Interrupted(signum)
