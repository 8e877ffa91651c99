"""A progress bar per phase."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

OnProgress = Callable[[int, float], None]


@contextmanager
def phase_progress(console: Console, name: str, steps: int) -> Iterator[OnProgress]:
    """Show a bar of `steps` steps inside the block; call what it gives with steps done and mean loss."""
    columns = (
        TextColumn("{task.description:9}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(name, total=steps, loss="")

        def update(done: int, loss: float) -> None:
            progress.update(task, completed=done, loss=f"loss {loss:.4f}")

        yield update
