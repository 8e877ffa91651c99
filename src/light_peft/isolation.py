"""A whole run in a process of its own: its memory figures are its own then, and so is a crash."""

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from light_peft.artifacts import RECORD, RunRecord, write_json
from light_peft.config import Config
from light_peft.interrupts import Interrupted
from light_peft.supervisor import Alone, WorkerDied

REQUEST = "request.json"
"""File with what the process shall run."""


def run_isolated(
    config: Config, words: Sequence[str], *, is_quiet: bool, stopped_by: Callable[[], int | None]
) -> tuple[RunRecord, Path]:
    """Run the whole method once in a process of its own; return its record and the folder that holds it.

    Args:
        config: What was asked for; `run_dir` is its folder.
        words: The words of the command line that it was composed of, for the record.
        is_quiet: Show nothing of what the run prints, unless its process dies.
        stopped_by: Gives a signal once the run shall end as it would by that signal.

    Raises:
        ValueError: If something is wrong with what was asked for.
        WorkerDied: If the process died, or the run failed for a reason of ours.
        Interrupted: If the run was told to end; it has had the time to write a checkpoint.
    """
    assert config.run_dir is not None
    folder = Path(config.run_dir)
    with tempfile.TemporaryDirectory(prefix="light-peft-") as reports:
        request = Path(reports) / REQUEST
        write_json(request, {"config": asdict(config), "words": list(words)})
        process = Alone([sys.executable, "-m", "light_peft.worker", str(request)], Path(reports), is_quiet=is_quiet)
        process.wait(stopped_by)
        if process.first_failure() is not None:
            _give_up(process, folder)
        if (signum := process.stopped_by()) is not None:
            raise Interrupted(signum)
    return RunRecord.read(folder), folder


def _give_up(process: Alone, folder: Path) -> NoReturn:
    """Raise what the process has to say; where it could not write it into the record, it is written there now."""
    if (message := process.user_error(0)) is not None:
        raise ValueError(message)
    short, whole = process.explain(0)
    if (folder / RECORD).exists():
        record = RunRecord.read(folder)
        if record.status == "running":
            record.status, record.error = "failed", short
            record.write(folder)
    raise WorkerDied(whole)
