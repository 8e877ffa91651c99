"""A cell of a search: run in a process of its own, or found finished."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from light_peft.artifacts import RunRecord
from light_peft.door.cell import ESTIMATES, UNTOUCHED
from light_peft.door.saying import USER_ERRORS, code_of, explain
from light_peft.isolation import run_isolated
from light_peft.search.words import composed
from light_peft.supervisor import WorkerDied
from light_peft.sweeps import attempts
from light_peft.sweeps.attempts import LeftError
from light_peft.sweeps.cells import Failure, ask, failure_of, folder_name, key_of


class CellRunner:
    """Runs cells in the folder of a search, which is that of a sweep; they share their estimations."""

    def __init__(self, folder: Path, command: str) -> None:
        """Run cells in `folder`; `command` is what asks for them."""
        self._folder, self._command = folder, command

    def __call__(self, words: Sequence[str]) -> RunRecord | Failure:
        """Return the record of the run of these words, or how it has failed: now, or before as often as is allowed.

        One that is finished is not run again; one that was interrupted goes on.

        Raises:
            ValueError: If another process is at work on it, or what its words stand for has changed since it was run.
            Interrupted: If this process was told to end; the run has written a checkpoint.
        """
        ask(self._folder, [words], self._command)
        try:
            return self._record(words)
        except LeftError as error:
            note = failure_of(self._folder, key_of(words))
            return Failure(list(words), str(error), note.code if note else 2, note.attempts if note else 1)
        except UNTOUCHED:
            raise
        except (*USER_ERRORS, WorkerDied) as error:
            message, code = explain(error), code_of(error)
            attempts.fail(self._folder, words, message, code)
            return Failure(list(words), message, code, 1)

    def _record(self, words: Sequence[str]) -> RunRecord:
        config = composed(words)
        config.run_dir = str(self._folder / folder_name(asdict(config), words))
        if config.estimate.reuse == "auto":
            config.estimate.reuse = str(self._folder / ESTIMATES)
        record = attempts.begin(self._folder, words, config)
        if record is None:
            record, _ = run_isolated(config, words, is_quiet=True, stopped_by=lambda: None)
            attempts.succeed(self._folder, words)
        return record
