"""Writing so that nothing is ever half there: whole files and folders, on the disk before they have their names."""

import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

DISK_TROUBLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}
OS_ERROR = re.compile(r"\(os error (\d+)\)")
"""How safetensors says which error of the system it met."""


class NotWrittenError(OSError, ValueError):
    """A file could not be written: the disk is full, may only be read, or the like. Says which file and why."""

    def __str__(self) -> str:
        """Return the message for the user."""
        return f"{self.filename}: cannot be written ({self.strerror})"


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
