"""Every file a run writes: names, record, JSON in and out, checksums; written whole or not at all."""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

CONFIG = "config.json"
RECORD = "result.json"
PLAN = "plan.json"
SCORES = "scores.safetensors"
RECOVERY = "recovery.safetensors"
TEACHER = "teacher.safetensors"
ADAPTER = "adapter"
MODEL = "model"
TOKENIZER = "tokenizer"
PREDICTIONS = "predictions"
CHECKSUMS = "checksums.json"
CHECKPOINTS = "checkpoints"
LOCK = ".lock"
LOG = "run.log"

DISK_TROUBLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}
OS_ERROR = re.compile(r"\(os error (\d+)\)")
"""How safetensors says which error of the system it met."""


class NotWrittenError(OSError, ValueError):
    """A file could not be written: the disk is full, may only be read, or the like. Says which file and why."""

    def __str__(self) -> str:
        """Return the message for the user."""
        return f"{self.filename}: cannot be written ({self.strerror})"


@dataclass
class RunRecord:
    """What happened in a run, finished or not; `docs/record.md` explains every field."""

    status: str = "failed"
    error: str | None = None
    task: str = ""
    model: str = ""
    peft: str = ""
    seed: int = 0
    config: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    hardware: dict[str, Any] = field(default_factory=dict)
    git: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    base: dict[str, Any] = field(default_factory=dict)
    primary_metric: str = ""
    score: float | None = None
    best_score: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    calibration: dict[str, float] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    phases: dict[str, dict[str, Any]] = field(default_factory=dict)
    totals: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    resumed: list[dict[str, Any]] = field(default_factory=list)

    @property
    def head(self) -> str:
        """Name of the head that the model ends in."""
        return str(self.base.get("head", "classification"))

    def write(self, folder: Path) -> None:
        """Write the record into the folder of its run."""
        write_json(folder / RECORD, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> "RunRecord":
        """Return the record of a run.

        Raises:
            ValueError: If there is no readable record.
        """
        values = read_json(folder / RECORD)
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"{folder / RECORD} is not a run record: {error}") from error


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; it becomes `path` only if the block ends well, and survives a power cut.

    Raises:
        NotWrittenError: If the system refuses a part of it.
    """
    temporary = _temporary(path)
    with written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            sync(temporary)
            temporary.replace(path)
            sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside `path`; it becomes `path` only if the block ends well, and survives a power cut.

    Raises:
        NotWrittenError: If the system refuses a part of it, or `path` is there already.
    """
    temporary = _temporary(path)
    with written(path):
        temporary.mkdir(parents=True)
        try:
            yield temporary
            seal_folder(temporary, path)
        except NotWrittenError as error:
            error.filename = str(error.filename).replace(str(temporary), str(path))  # the name that a user knows
            raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def seal_folder(temporary: Path, path: Path) -> None:
    """Make `path` of a folder that is written: the disk has all of its files before it has the name."""
    for part in (*temporary.rglob("*"), temporary):
        sync(part)
    temporary.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Wait until the disk has the file, or the names in the folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_leftover(path: Path) -> bool:
    """Whether a name is one that a write has until it is done, ours or that of safetensors."""
    return path.name.startswith(".") and (path.name.endswith(".part") or path.name.startswith(".tmp"))


def remove_leftovers(folder: Path) -> None:
    """Remove what writes that were killed have left in a folder which nobody else writes into."""
    for path in filter(is_leftover, list(folder.iterdir())):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Say of what goes wrong in the block, where the system is to blame, that `path` cannot be written.

    Raises:
        NotWrittenError: If the system refuses a part of it.
    """
    try:
        yield
    except NotWrittenError:
        raise
    except OSError as error:
        raise NotWrittenError(error.errno, error.strerror or str(error), str(path)) from error
    except SafetensorError as error:
        if (code := OS_ERROR.search(str(error))) is None:
            raise
        raise NotWrittenError(int(code[1]), os.strerror(int(code[1])), str(path)) from error


@contextmanager
def disk_trouble() -> Iterator[None]:
    """Say of a disk that is full or may only be read, wherever in the block it is met, what it is.

    Raises:
        NotWrittenError: If there was one.
    """
    try:
        yield
    except NotWrittenError:
        raise
    except OSError as error:
        if error.errno not in DISK_TROUBLE:
            raise
        raise NotWrittenError(error.errno, os.strerror(error.errno), error.filename or "a file in a cache") from error


def _temporary(path: Path) -> Path:
    """Return a name that no other process takes, be it on another machine or in another container."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")


def write_json(path: Path, values: Any) -> None:
    """Write `values` as JSON; infinities and NaN are refused, for other programs cannot read them."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        ValueError: If it is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"{path} does not exist; is {path.parent} the folder of a finished run?") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def write_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write named tensors as safetensors; tensors that share memory are written each on its own.

    Only those, and views, are copied for it: a whole model is never there twice.
    """
    owners: set[int] = set()
    own: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        on_host = tensor.detach().cpu().contiguous()
        storage = on_host.untyped_storage()
        alone = storage.nbytes() == on_host.nbytes and storage.data_ptr() not in owners
        own[name] = on_host if alone else on_host.clone()
        owners.add(own[name].untyped_storage().data_ptr())
    with whole_file(path) as temporary:
        save_file(own, temporary)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file.

    Raises:
        ValueError: If it is missing or damaged.
    """
    if not path.exists():
        raise ValueError(f"{path} does not exist; is {path.parent} the folder of a finished run?")
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def remove_saved(folder: Path) -> None:
    """Remove what a run that was killed while it saved has saved of its model."""
    (folder / CHECKSUMS).unlink(missing_ok=True)
    for name in (ADAPTER, MODEL, TOKENIZER):
        shutil.rmtree(folder / name, ignore_errors=True)


def write_checksums(folder: Path) -> None:
    """Write the sha256 of every file that a run has saved for loading."""
    single = [name for name in (PLAN, SCORES, RECOVERY) if (folder / name).exists()]
    names = [*single, *(name for part in (ADAPTER, MODEL, TOKENIZER) for name in _inside(folder, part))]
    write_json(folder / CHECKSUMS, {name: file_sha256(folder / name) for name in names})


def verify_checksums(folder: Path) -> None:
    """Hold the files of a run against its checksums.

    Raises:
        ValueError: If one is missing or has changed; all of them are named.
    """
    expected: dict[str, str] = read_json(folder / CHECKSUMS)
    missing = [name for name in expected if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} is damaged: {', '.join(missing)} missing")
    changed = [name for name, digest in expected.items() if file_sha256(folder / name) != digest]
    if changed:
        raise ValueError(f"{folder} is damaged: {', '.join(changed)} changed since the run wrote it (sha256 differs)")


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tensors_sha256(tensors: dict[str, torch.Tensor]) -> str:
    """Return the sha256 over names, shapes and values, whatever the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _inside(folder: Path, name: str) -> list[str]:
    files = sorted(path for path in (folder / name).rglob("*") if path.is_file())
    return [path.relative_to(folder).as_posix() for path in files]
