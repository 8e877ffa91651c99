"""Opening a run's folder: a new one, one to go on in, or one that is finished; never that of another run."""

import itertools
import logging
import os
import re
import shutil
import socket
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import IO

from light_peft.artifacts import CHECKPOINTS, CONFIG, LOCK, LOG, RECORD, RunRecord, read_json, write_json
from light_peft.config import Config
from light_peft.settings import Settings, config_sha256, differences, settings_of
from light_peft.writing import is_leftover, remove_leftovers, written

OUTPUTS = Path("outputs")
SHOWN = 10
"""Differing keys that a message lists."""

Lock = IO[str]

logger = logging.getLogger("light_peft")


class BusyError(ValueError):
    """Another process is at work in the folder."""


class OtherRunError(ValueError):
    """The folder holds a run of another configuration; `differing` says in one text per key what differs."""

    def __init__(self, folder: Path, differing: Sequence[str]) -> None:
        """Say so of `folder`."""
        self.differing = "\n".join(f"  {line}" for line in differing[:SHOWN])
        if len(differing) > SHOWN:
            self.differing += f"\n  and {len(differing) - SHOWN} more"
        super().__init__(f"run_dir={folder}: the run in this folder is of another configuration:\n{self.differing}")


@dataclass
class Opened:
    """The folder of a run, which no other process writes into until it is closed.

    Attributes:
        folder: The folder; its `config.json` is this run's.
        record: Of a finished run its record. Else one with the status `running`, which is in the folder as well;
            of the attempts before it has nothing but `resumed`.
        is_finished: There is nothing left to do.
    """

    folder: Path
    record: RunRecord
    is_finished: bool
    _lock: Lock | None = None

    def end(self) -> None:
        """Write the record as it stands, and let others have the folder; a finished run has no checkpoints from now on.

        Raises:
            NotWrittenError: If the record cannot be written; the folder then holds that of a run that goes on.
        """
        try:
            self.record.write(self.folder)
            if self.record.status == "finished":
                shutil.rmtree(self.folder / CHECKPOINTS, ignore_errors=True)
        finally:
            self.close()

    def close(self) -> None:
        """Let others have the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def open_run(config: Config, words: Sequence[str] = ()) -> Opened:
    """Open the folder that this run shall write into; on the main process alone.

    Without `run_dir` it is a new one, or with `resume` that of the newest unfinished run of this configuration. With
    `run_dir` the run in it goes on, if it is of this configuration; one that is finished is not done again.

    Args:
        config: What was asked for.
        words: The words of the command line that it was composed of, for the record.

    Raises:
        ValueError: If the folder belongs to another run, another process is at work in it, it cannot be written
            into, or there is nothing to resume.
    """
    if config.run_dir is not None:
        return _open(Path(config.run_dir), config, words)
    if config.resume:
        return _resume(config, words)
    folder = new_run_dir(f"{config.task.name}-{config.model.name}-{config.peft.kind}")
    return _begin(folder, config, words, lock_folder(folder))


def finished_record(folder: Path, config: Config) -> RunRecord | None:
    """Return the record of the run in a folder, which is of this configuration; None unless it has finished.

    Raises:
        ValueError: If the folder belongs to another run, or cannot be looked into.
    """
    record = _record_of_same(folder, config) if (folder / CONFIG).exists() else None
    return record if record is not None and record.status == "finished" else None


def begin_anew(folder: Path) -> None:
    """Remove all that a run has left in its folder but its log, so that the next one there is a new one.

    Raises:
        BusyError: If another process is at work in it.
    """
    with lock_folder(folder):
        for path in list(folder.iterdir()):
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in (LOCK, LOG):
                path.unlink()


def new_run_dir(label: str) -> Path:
    """Make and return a fresh folder below outputs/, named by time and label; two runs never get the same one.

    Raises:
        ValueError: If it cannot be made.
    """
    now = datetime.now()
    parent = OUTPUTS / now.strftime("%Y-%m-%d")
    name = f"{now.strftime('%H-%M-%S')}-{re.sub(r'[^A-Za-z0-9_.=-]+', '_', label)}"
    names = itertools.chain([name], (f"{name}-{attempt}" for attempt in itertools.count(2)))
    try:
        parent.mkdir(parents=True, exist_ok=True)
        return next(folder for folder in map(parent.joinpath, names) if _is_made(folder))
    except OSError as error:
        raise ValueError(f"{parent}: cannot hold a run folder ({error.strerror}); name one with run_dir=") from error


def _is_made(folder: Path) -> bool:
    """Make the folder; whether it was not there before, which the system decides for one of many at once."""
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True


def _open(folder: Path, config: Config, words: Sequence[str]) -> Opened:
    """Open a given folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise ValueError(f"run_dir={folder}: a file of this name is there") from error
    except OSError as error:
        raise ValueError(f"run_dir={folder}: cannot be used as a run folder ({error.strerror})") from error
    record = _record_of_same(folder, config)
    if record is not None and record.status == "finished":
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)  # of a run that was killed just before it did so
        return Opened(folder, record, is_finished=True)
    lock = lock_folder(folder)
    try:
        record = _record_of_same(folder, config)  # again, for it may have ended only now
        if record is None or record.status != "finished":
            return _begin(folder, config, words or (record.words if record is not None else ()), lock, record)
    except BaseException:
        lock.close()
        raise
    lock.close()
    return Opened(folder, record, is_finished=True)


def _begin(folder: Path, config: Config, words: Sequence[str], lock: Lock, before: RunRecord | None = None) -> Opened:
    """Write the configuration, and the record of a run that has begun and has not ended."""
    remove_leftovers(folder)
    record = RunRecord(status="running", task=config.task.name, model=config.model.name, peft=config.peft.kind)
    record.seed, record.words, record.config = config.seed, list(words), asdict(config)
    record.config_sha256 = config_sha256(record.config)
    record.resumed = before.resumed if before is not None else []
    write_json(folder / CONFIG, asdict(replace(config, run_dir=str(folder), resume=False)))
    record.write(folder)
    return Opened(folder, record, is_finished=False, _lock=lock)


def _record_of_same(folder: Path, config: Config) -> RunRecord | None:
    """Return the record of the run in the folder, which is one of this configuration; None if it has none yet.

    Raises:
        ValueError: If it is of another configuration or its own cannot be read, if the folder holds something else,
            or nothing although there was a run to resume.
    """
    if not (folder / CONFIG).exists():
        ours = (LOCK, LOG) if (folder / LOCK).exists() else ()  # the log of a run that is begun anew stays
        if any(path.name not in ours and not is_leftover(path) for path in folder.iterdir()):
            raise ValueError(f"run_dir={folder}: this folder is not empty; name a new one or leave run_dir away")
        if config.resume:
            both = "without resume=true the same command begins a run there, or goes on with it"
            raise ValueError(f"resume=true run_dir={folder}: there is no run in this folder; {both}")
        return None
    if differing := differences(_settings_of(folder), settings_of(asdict(config))):
        raise OtherRunError(folder, differing)
    return _record_in(folder)


def _record_in(folder: Path) -> RunRecord | None:
    """Return the record; one that is damaged counts as none, so that its run is finished once more, to the same end."""
    if not (folder / RECORD).exists():
        return None
    try:
        return RunRecord.read(folder)
    except ValueError as error:
        logger.warning("%s; the run counts as unfinished", error)
        return None


def _resume(config: Config, words: Sequence[str]) -> Opened:
    """Open the folder of the newest unfinished run of this configuration below outputs/, in which nobody works."""
    ours = settings_of(asdict(config))
    seen: dict[Path, list[str]] = {}
    notes: list[str] = []
    for folder in _unfinished(notes):
        try:
            seen[folder] = differences(_settings_of(folder), ours)
            if not seen[folder]:
                return _open(folder, config, words)
        except BusyError as error:
            notes.append(str(error))
            del seen[folder]
        except ValueError as error:
            notes.append(str(error))
    where = f"resume=true: no unfinished run of this configuration below {OUTPUTS}/ ({OUTPUTS.resolve()})"
    lines = [f"{where}; {len(seen)} of other configurations", *notes]
    if seen:
        nearest = min(seen, key=lambda folder: len(seen[folder]))
        lines.append(f"the nearest is {nearest}: {'; '.join(seen[nearest][:SHOWN])}")
    raise ValueError("\n  ".join(lines))


def _unfinished(notes: list[str]) -> Iterator[Path]:
    """Yield the folders of unfinished runs below outputs/, the one begun or resumed last first."""
    paths = [path for depth in ("*", "*/*", "*/*/*") for path in OUTPUTS.glob(f"{depth}/{CONFIG}")]
    runs = [path for path in paths if (path.parent / LOCK).exists()]  # a saved model has a config.json, too
    for path in sorted(runs, key=lambda path: (path.stat().st_mtime_ns, path), reverse=True):
        record = _record_in(path.parent)
        if record is None or record.status != "finished":
            yield path.parent


def lock_folder(folder: Path) -> Lock:
    """Return the lock on a folder, which the system frees when this process ends, however it ends.

    Raises:
        BusyError: If another process has it.
        ValueError: If the folder cannot be written into.
    """
    with written(folder / LOCK):
        lock = (folder / LOCK).open("a+", encoding="utf-8")
    try:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        lock.seek(0)
        owner = lock.read().strip()
        lock.close()
        raise BusyError(f"run_dir={folder}: another process is at work in it ({owner or 'unknown'})") from error
    except (OSError, ImportError) as error:
        logger.warning("%s: no lock (%s); take care that no other process gets this run_dir", folder, error)
    with written(folder / LOCK):
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        lock.flush()
    return lock


def _settings_of(folder: Path) -> Settings:
    """Return the settings of the run in a folder.

    Raises:
        ValueError: If they cannot be read.
    """
    unknown = "which run this is cannot be told; name another run_dir, or remove the folder"
    try:
        values = read_json(folder / CONFIG)
    except ValueError as error:
        raise ValueError(f"run_dir={folder}: {error}; {unknown}") from error
    if not isinstance(values, dict):
        raise ValueError(f"run_dir={folder}: {folder / CONFIG} is not a configuration; {unknown}")
    return settings_of(values)
