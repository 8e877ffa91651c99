"""`python -m run` inside the process of the tests; all that it changes in the process is put back."""

import contextlib
import io
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import datasets
import pytest
import transformers
from hydra.core.global_hydra import GlobalHydra

import run
from light_peft import artifacts, door

PAIRS = [("a cat sat", "an animal sat", "entailment"), ("a cat sat", "a tool sat", "not_entailment")]
FAST = ("debug=smoke", "runtime.device=cpu", "estimate.steps=1", "train.max_steps=1")


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    """Exit code."""
    output: str
    """Everything on stdout and stderr."""
    folder: Path
    """Where the command was given."""

    @property
    def message(self) -> str:
        """The one error message."""
        assert self.output.count("error: ") == 1, self.output
        return self.output.split("error: ")[1].strip()

    def run_dirs(self) -> list[Path]:
        """The folders of all runs that had begun."""
        return sorted(path.parent for path in self.folder.rglob(artifacts.RECORD))


def command(folder: Path, *words: str) -> Outcome:
    """Give the command line `words` in `folder`."""
    said = io.StringIO()
    with _process_as_before(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["run.py", *words])
        patch.chdir(folder)
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), pytest.raises(SystemExit) as exit_:
            run.main()
    assert isinstance(exit_.value.code, int)
    return Outcome(exit_.value.code, said.getvalue(), folder)


def write_pairs(path: Path, rows: int = 8) -> Path:
    """Write a file of the demo task."""
    lines = ["\t".join(PAIRS[row % 2]) for row in range(rows)]
    path.write_text("\n".join(["sentence1\tsentence2\tlabel", *lines]) + "\n", encoding="utf-8")
    return path


def tiny_files(folder: Path) -> list[str]:
    """Write a training and an evaluation file into `folder`; return the words that choose them."""
    train, validation = write_pairs(folder / "train.tsv", 32), write_pairs(folder / "dev.tsv", 8)
    return [f"data.files.train={train}", f"data.files.validation={validation}"]


@contextlib.contextmanager
def _process_as_before() -> Iterator[None]:
    logger, environment = logging.getLogger("light_peft"), dict(os.environ)
    handlers, level, propagate = logger.handlers, logger.level, logger.propagate
    verbosity, shown = transformers.logging.get_verbosity(), not datasets.are_progress_bars_disabled()
    door.FAILURES.clear()
    try:
        yield
    finally:
        door.FAILURES.clear()
        GlobalHydra.instance().clear()
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)
        transformers.logging.set_verbosity(verbosity)
        transformers.logging.enable_progress_bar()
        if shown:
            datasets.enable_progress_bars()
        os.environ.clear()
        os.environ.update(environment)
