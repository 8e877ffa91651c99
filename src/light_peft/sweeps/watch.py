"""Watching a sweep from the process that has started it, whatever processes its cells run in."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.markup import escape

from light_peft.artifacts import LOG
from light_peft.sweeps.board import Begun, Board
from light_peft.sweeps.table import Row, names_of, picture

POLL_SECONDS = 0.3
TAIL_BYTES = 2048
"""How much of the end of a log is read for its last line."""
LOG_FIELDS = 3
"""Day, time and level, which a line of the log begins with."""


class Show(Protocol):
    """How the rows are shown."""

    def update(self, rows: Sequence[Row]) -> None:
        """Show them as they stand now."""

    def close(self) -> None:
        """Leave the screen in order."""


class Nothing:
    """Shows nothing: each run shows itself."""

    def update(self, rows: Sequence[Row]) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Lines:
    """Prints a line as each cell ends."""

    def __init__(self, console: Console) -> None:
        """Print onto `console`."""
        self._console = console
        self._said: set[str] = set()

    def update(self, rows: Sequence[Row]) -> None:
        """Print a line for each that has ended since the last time."""
        new = [row for row in rows if row.outcome is not None and row.key not in self._said]
        for row in sorted(new, key=lambda row: row.outcome.time if row.outcome is not None else 0.0):
            self._said.add(row.key)
            line = escape(row.line(len(self._said), len(rows)))
            self._console.print(line, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Do nothing."""


class LiveTable:
    """Keeps a table of all on the screen; it is there from the first cell on."""

    def __init__(self, console: Console) -> None:
        """Draw onto `console`, a terminal."""
        self._console, self._began = console, time.time()
        self._live: Live | None = None

    def update(self, rows: Sequence[Row]) -> None:
        """Draw them."""
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        self._live.update(picture(rows, self._began, self._console.height), refresh=True)

    def close(self) -> None:
        """Leave the last table on the screen, and the cursor as it was."""
        if self._live is not None:
            self._live.stop()


class Watch:
    """A thread that looks at the board of a sweep, and shows what it sees."""

    def __init__(self, board: Board, cells: Sequence[Sequence[str]], show: Show) -> None:
        """Watch the cells that are asked for, and others that the board tells of."""
        self._board, self._show = board, show
        self._names = names_of(cells)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="sweep", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def close(self) -> None:
        """Show how things stand now, for the last time."""
        self._end.set()
        self._thread.join()

    def rows(self) -> list[Row]:
        """Return how every cell stands, in the order that they were asked for in."""
        begun, ended = self._board.begun(), self._board.ended()
        self._names |= {key: " ".join(cell.words) for key, cell in begun.items() if key not in self._names}
        return [
            Row(
                key,
                name or (Path(begun[key].folder).name if key in begun else "") or key,
                _doing(begun[key]) if key in begun and key not in ended else "",
                begun[key].time if key in begun else None,
                ended.get(key),
            )
            for key, name in self._names.items()
        ]

    def _watch(self) -> None:
        try:
            while not self._end.wait(POLL_SECONDS):
                self._look()
            self._look()
        finally:
            self._show.close()

    def _look(self) -> None:
        rows = self.rows()
        if any(row.begun is not None for row in rows):  # what cannot be composed leaves nothing on the screen
            self._show.update(rows)


def show_on(console: Console, wanted: str) -> Show:
    """Return the way of showing that was asked for with `sweep.show`; a table needs a terminal."""
    if wanted == "runs":
        return Nothing()
    return LiveTable(console) if console.is_terminal else Lines(console)


def _doing(cell: Begun) -> str:
    """Return the last line of a run's log that was written since its cell began."""
    path = Path(cell.folder or ".") / LOG
    try:
        if path.stat().st_mtime < cell.time:
            return "starts"
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            lines = file.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return "starts"
    return lines[-1].split(" ", LOG_FIELDS)[-1] if lines else "starts"
