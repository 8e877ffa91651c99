"""A run from the opening of its folder to the closing of its record, whatever happens in between."""

import logging
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from light_peft import artifacts
from light_peft.artifacts import RunRecord
from light_peft.asked import check_config
from light_peft.config import Config
from light_peft.interrupts import Interrupted, Interrupts
from light_peft.opening import Opened, open_run
from light_peft.pipeline import Run
from light_peft.processes import on_main
from light_peft.runtime import start_logging, start_runtime
from light_peft.writing import disk_trouble

logger = logging.getLogger("light_peft")


def run(config: Config, console: Console | None = None, words: Sequence[str] = ()) -> tuple[RunRecord, Path]:
    """Run the whole method once, or what is left of it to do; return its record and the folder that holds it.

    In a group of processes each calls this; the main one alone writes. `words` of the command line are for the record.

    Raises:
        ValueError: If something is wrong with what was asked for. Where the run had begun, its record
            says `failed` and why.
        Interrupted: If the run was told to end; its record says `interrupted`, and it can go on.
    """
    notes = check_config(config)
    accelerator = start_runtime(config.runtime, config.seed)
    console = (console or Console(stderr=True)) if accelerator.is_main_process else Console(quiet=True)
    opened: list[Opened] = []
    folder, record, is_finished = on_main(accelerator, lambda: _open(config, words, opened))
    if is_finished:
        return record, folder
    log = start_logging(folder / artifacts.LOG if opened else None, console)
    try:
        with Interrupts() as interrupts, disk_trouble():
            for note in notes:
                logger.warning(note)
            Run(config, folder, record, console, accelerator, interrupts).execute()
        record.status = "finished"
    except BaseException as error:
        record.status = "interrupted" if isinstance(error, Interrupted) else "failed"
        record.error = f"{type(error).__name__}: {error}"
        error.add_note(f"the same command with run_dir={folder} goes on")
        logger.debug("the run ended early", exc_info=error)
        raise
    finally:
        logger.removeHandler(log)
        log.close()
        if opened:
            opened[0].end()
    return record, folder


def _open(config: Config, words: Sequence[str], opened: list[Opened]) -> tuple[Path, RunRecord, bool]:
    opened.append(found := open_run(config, words))
    return found.folder, found.record, found.is_finished
