"""A cell of a search: run in a process of its own, or found finished."""

from collections.abc import Sequence
from pathlib import Path

from light_peft import door
from light_peft.artifacts import RunRecord
from light_peft.imports import uncollected
from light_peft.opening import BusyError
from light_peft.search.words import composed
from light_peft.supervisor import WorkerDied
from light_peft.sweeps.cells import Failure, ask, failure_of, folder_of, forget_failure, key_of, label_of, note_failure


class CellRunner:
    """Runs cells in the folder of a search, which is that of a sweep; they share their estimations."""

    def __init__(self, folder: Path, command: str) -> None:
        """Run cells in `folder`; `command` is what asks for them."""
        self._folder, self._command = folder, command

    def __call__(self, words: Sequence[str]) -> RunRecord | Failure:
        """Return the record of the run of these words, or how it has failed: now, or before as often as is allowed.

        One that is finished is not run again; one that was interrupted goes on.

        Raises:
            Interrupted: If this process was told to end; the run has written a checkpoint.
            BusyError: If another process is at work on it.
        """
        with uncollected():
            from light_peft.launch import num_processes, run_in_processes

        ask(self._folder, [words], self._command)
        key = key_of(words)
        failure = failure_of(self._folder, key)
        attempts = failure.attempts if failure is not None else 0
        try:
            config = composed(words)
            if failure is not None and attempts > config.sweep.retry:
                return failure
            config.run_dir = str(folder_of(self._folder, label_of(config), words))
            if config.estimate.reuse == "auto":
                config.estimate.reuse = str(self._folder / door.ESTIMATES)
            record, _ = run_in_processes(config, num_processes(config), words)
        except BusyError:
            raise
        except (*door.USER_ERRORS, WorkerDied) as error:
            failed = Failure(list(words), door.explain(error), door.code_of(error), attempts + 1)
            note_failure(self._folder, failed)
            return failed
        forget_failure(self._folder, key)
        return record
