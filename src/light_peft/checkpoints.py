"""Checkpoints of a run: what a killed one goes on from.

One is a folder `NUMBER-STAGE-STEP` below the run's `checkpoints/`; the number says which is newer. What all processes
have in common (`state`) and what each has for itself (`rank-K`) is a JSON file and a safetensors file each, and
`checksums.json`, written last, has the sha256 of them all.
"""

import errno
import logging
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator

from light_peft.artifacts import CHECKPOINTS, CHECKSUMS, file_sha256, read_json, write_json
from light_peft.processes import on_main
from light_peft.states import JSON, TENSORS, State, read_state, write_state
from light_peft.writing import seal_folder, written

__all__ = ["Checkpoint", "Checkpoints", "State"]

NAME = re.compile(r"(\d+)-(.+)-(\d+)")
SHARED, OWN = "state", "rank-{}"
TEMPORARY = ".next.part"
"""Name of the one checkpoint that is being written; all processes know it without asking."""

logger = logging.getLogger("light_peft")


@dataclass(frozen=True)
class Checkpoint:
    """A run as it stood after `step` steps of `stage`.

    Attributes:
        stage: Name of the stage.
        step: Steps done in it.
        shared: What all processes have in common; that of the main process is written.
        own: What each process has for itself.
    """

    stage: str
    step: int
    shared: State
    own: State


class Checkpoints:
    """The checkpoints of one run; all processes call every method together."""

    def __init__(self, folder: Path, keep: int, accelerator: Accelerator) -> None:
        """Keep the newest `keep` checkpoints in the run's `folder`, which all processes see; 0 writes none."""
        self.folder = folder / CHECKPOINTS
        self._keep, self._accelerator = keep, accelerator
        self._damaged: set[Path] = set()
        self._has_warned = False

    def write(self, checkpoint: Checkpoint) -> bool:
        """Write a checkpoint; whether it is on the disk now, whole, which all processes hear alike.

        Where the system refuses (a full disk), nothing is left of it and older ones stay; the first time is warned of.
        """
        if self._keep == 0:
            return False
        steps = (self._make_room, lambda: self._write_states(checkpoint), lambda: self._seal(checkpoint))
        is_written = all(self._is_done_by_all(step) for step in steps)
        if self._accelerator.is_main_process:
            shutil.rmtree(self.folder / TEMPORARY, ignore_errors=True)
            if is_written:
                logger.debug("checkpoint behind step %d of %s", checkpoint.step, checkpoint.stage)
                self._remove_old()
        return is_written

    def latest(self) -> Checkpoint | None:
        """Return the newest whole checkpoint, the same one in all processes; None if there is none.

        A damaged one is passed over with a warning that says what is wrong with it.

        Raises:
            ValueError: If another number of processes has written it.
        """
        found = on_main(self._accelerator, self._newest_whole)
        if found is None:
            return None
        number, processes = found
        (folder,) = (folder for folder in self._all() if _number(folder) == number)
        if processes != (now := self._accelerator.num_processes):
            raise ValueError(f"{folder}: written by {processes} processes, {now} cannot go on from this checkpoint")
        _, stage, step = _parts(folder)
        own = read_state(folder, OWN.format(self._accelerator.process_index))
        return Checkpoint(stage, step, read_state(folder, SHARED), own)

    def _make_room(self) -> None:
        if self._accelerator.is_main_process:
            shutil.rmtree(self.folder / TEMPORARY, ignore_errors=True)
            with written(self.folder):
                (self.folder / TEMPORARY).mkdir(parents=True)

    def _write_states(self, checkpoint: Checkpoint) -> None:
        write_state(self.folder / TEMPORARY, OWN.format(self._accelerator.process_index), checkpoint.own)
        if self._accelerator.is_main_process:
            write_state(self.folder / TEMPORARY, SHARED, checkpoint.shared)

    def _seal(self, checkpoint: Checkpoint) -> None:
        if not self._accelerator.is_main_process:
            return
        temporary, number = self.folder / TEMPORARY, max([0, *map(_number, self._all())]) + 1
        files = {name: file_sha256(temporary / name) for name in _names(self._accelerator.num_processes)}
        write_json(temporary / CHECKSUMS, files)
        with written(self.folder):
            seal_folder(temporary, self.folder / f"{number:06d}-{checkpoint.stage}-{checkpoint.step}")

    def _remove_old(self) -> None:
        whole = [folder for folder in self._all() if folder not in self._damaged]
        for folder in (*self._damaged, *whole[: -self._keep]):
            shutil.rmtree(folder, ignore_errors=True)

    def _all(self) -> list[Path]:
        """Return the folders of all checkpoints, the oldest first."""
        folders = self.folder.iterdir() if self.folder.is_dir() else ()
        return sorted((folder for folder in folders if NAME.fullmatch(folder.name)), key=_number)

    def _newest_whole(self) -> tuple[int, int] | None:
        """Return number and processes of the newest whole checkpoint; None if there is none."""
        for folder in reversed(self._all()):
            try:
                return _number(folder), _processes(folder)
            except (OSError, ValueError) as error:
                self._damaged.add(folder)
                logger.warning("%s: this checkpoint is damaged and passed over (%s)", folder, error)
        return None

    def _is_done_by_all(self, step: Callable[[], None]) -> bool:
        """Do a step of writing; whether the system let all processes do it."""
        code, message = 0, ""
        try:
            step()
        except OSError as error:
            code, message = error.errno or errno.EIO, str(error)
        codes = self._accelerator.gather(torch.tensor([code], device=self._accelerator.device)).tolist()
        failed = [rank for rank, code in enumerate(codes) if code]
        if failed and self._accelerator.is_main_process and not self._has_warned:
            self._has_warned = True
            why = message or f"process {failed[0]}: {os.strerror(codes[failed[0]])}"
            logger.warning("no checkpoint could be written, the run goes on without: %s", why)
        return not failed


def _parts(folder: Path) -> tuple[int, str, int]:
    """Return number, stage and step, which the name of a checkpoint's folder says."""
    match = NAME.fullmatch(folder.name)
    assert match is not None, folder
    return int(match[1]), match[2], int(match[3])


def _number(folder: Path) -> int:
    return _parts(folder)[0]


def _names(processes: int) -> list[str]:
    parts = [SHARED, *(OWN.format(rank) for rank in range(processes))]
    return [part + ending for part in parts for ending in (JSON, TENSORS)]


def _processes(folder: Path) -> int:
    """Return how many processes have written a checkpoint that is whole.

    Raises:
        ValueError: If it is not; the file and what is wrong with it are named.
    """
    files = read_json(folder / CHECKSUMS)
    processes = len(files) // 2 - 1 if isinstance(files, dict) else 0
    if processes < 1 or set(files) != set(_names(processes)):
        raise ValueError(f"{CHECKSUMS} does not list its files")
    for name, expected in files.items():
        if not (folder / name).is_file():
            raise ValueError(f"{name} is missing")
        if file_sha256(folder / name) != expected:
            raise ValueError(f"{name} has changed since it was written: sha256 differs")
    return processes
