"""A sweep on the screen: one row for each cell, and a line that counts them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from light_peft.settings import NOT_COMPARED
from light_peft.sweeps.board import DONE, FAILED, INTERRUPTED, REUSED, Outcome
from light_peft.sweeps.cells import key_of

WAITING, RUNNING = "waiting", "running"
STYLES = {DONE: "green", REUSED: "dim green", FAILED: "bold red", INTERRUPTED: "yellow", RUNNING: "cyan"}
STATES = {DONE: "finished", REUSED: "finished before"}
"""What a state is called where that is not its own name."""
SHOWN_FIRST = (RUNNING, FAILED, INTERRUPTED, DONE, WAITING, REUSED)
"""Which rows are shown where not all find room."""
ENDED = (DONE, REUSED, FAILED, INTERRUPTED)
SURROUNDINGS = 6
"""Lines of the screen that are not rows."""


@dataclass(frozen=True)
class Row:
    """A cell on the screen; times in seconds since the epoch.

    Attributes:
        key: The cell's.
        name: What tells it from the others, in the words of the command line.
        doing: Where its run is, as its log tells.
        begun: When a job arrived at it; None where none has.
        outcome: What came of it; None where nothing has yet.
    """

    key: str
    name: str
    doing: str = ""
    begun: float | None = None
    outcome: Outcome | None = None

    @property
    def state(self) -> str:
        """How it stands: waiting, running, or what came of it."""
        if self.outcome is not None:
            return self.outcome.kind
        return WAITING if self.begun is None else RUNNING

    def seconds(self, now: float) -> str:
        """Return what its run took, or has taken so far; of one that has not finished, since its cell began."""
        if self.outcome is not None and self.outcome.seconds:
            return f"{self.outcome.seconds:.0f}"
        end = now if self.outcome is None else self.outcome.time
        return "" if self.begun is None else f"{end - self.begun:.0f}"

    def line(self, number: int, count: int) -> str:
        """Return in one line what came of it, as the `number`-th of `count` cells to end."""
        assert self.outcome is not None
        said = {
            DONE: f"{self.outcome.result}, {self.outcome.seconds:.0f} s",
            REUSED: f"{self.outcome.result}, finished before",
            FAILED: f"failed: {self.outcome.error}",
            INTERRUPTED: "interrupted",
        }
        return f"[{number}/{count}] {self.name}: {said[self.outcome.kind]}"


def names_of(cells: Sequence[Sequence[str]]) -> dict[str, str]:
    """Return for each cell, by its key, the words that not all share; all that matter where there is but one cell."""
    shared = set.intersection(*map(set, cells)) if len(cells) > 1 else set()
    return {
        key_of(words): " ".join(word for word in words if word not in shared and _key(word) not in NOT_COMPARED)
        for words in cells
    }


def _key(word: str) -> str:
    return word.lstrip("+~").split("=", 1)[0].split(".")[0]


def picture(rows: Sequence[Row], began: float, height: int, now: float | None = None) -> RenderableType:
    """Return the rows as a table, as many as find room in `height` lines, and the line that counts all."""
    now = time.time() if now is None else now
    table = Table(title="sweep", title_justify="left", expand=True, show_edge=False)
    for name in ("cell", "state", "seconds"):
        table.add_column(name, no_wrap=True, justify="right" if name == "seconds" else "left")
    table.add_column("result, or where it is", no_wrap=True, ratio=1, overflow="ellipsis")
    shown = visible(rows, max(3, height - SURROUNDINGS))
    for row in shown:
        state = Text(STATES.get(row.state, row.state), style=STYLES.get(row.state, "dim"))
        table.add_row(Text(row.name), state, row.seconds(now), Text(_said(row)))
    hidden = [row for row in rows if row not in shown]
    more = f"and {len(hidden)} more: {_counts(hidden)}" if hidden else ""
    return Group(table, *([Text(more, style="dim")] if more else []), Text(total(rows, began, now), style="bold"))


def _said(row: Row) -> str:
    if row.outcome is not None:
        return row.outcome.error or row.outcome.result
    return row.doing


def visible(rows: Sequence[Row], room: int) -> list[Row]:
    """Return the rows to show, in their order: what runs and what has failed first, then what has ended last."""
    if len(rows) <= room:
        return list(rows)

    def rank(number: int) -> tuple[int, float]:
        row = rows[number]
        return SHOWN_FIRST.index(row.state), -row.outcome.time if row.outcome is not None else number

    return [rows[number] for number in sorted(sorted(range(len(rows)), key=rank)[:room])]


def total(rows: Sequence[Row], began: float, now: float) -> str:
    """Return how many cells are in which state, the time since `began`, and an estimate of what is left of it.

    The estimate takes the cells that are left to come as fast as those that have ended, whatever runs side by side.
    """
    ended = sum(row.state in ENDED for row in rows)
    done, left = sum(row.state in (DONE, FAILED) for row in rows), len(rows) - ended
    rest = f", about {_span((now - began) / done * left)} left" if done and left else ""
    return f"{ended} of {len(rows)} cells, {_span(now - began)}{rest}: {_counts(rows)}"


def _counts(rows: Sequence[Row]) -> str:
    counts = {state: sum(row.state == state for row in rows) for state in SHOWN_FIRST}
    return ", ".join(f"{count} {STATES.get(state, state)}" for state, count in counts.items() if count)


def _span(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
