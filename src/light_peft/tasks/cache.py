"""Features kept on disk in Arrow, found again by all that they were made of; nothing is ever found by a name."""

import functools
import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import datasets

from light_peft.artifacts import file_sha256, read_json, write_json
from light_peft.data.text import quiet_progress
from light_peft.writing import whole_folder

logger = logging.getLogger(__name__)

FORMAT = 1
"""Counted up whenever the files of an entry look different."""
OFF = "off"
"""`data.cache_dir` that keeps nothing."""
MAX_BYTES = 10 * 2**30
"""Beyond this size of all entries, those that were used longest ago go."""
KEEP_SECONDS = 24 * 3600
"""An entry used so recently stays, for another run may read it; what is left of a write so old nobody finishes."""
ENTRY = "entry.json"
"""File of an entry that says what is in it; its time is that of the last use."""
_NAME = re.compile(r"[0-9a-f]{64}")
_UNFINISHED = re.compile(r"\.[0-9a-f]{64}\.\d+(-[0-9a-f]{8})?\.part")


def cached(encode: Callable[[], datasets.Dataset], key: Mapping[str, Any], cache_dir: str | None) -> datasets.Dataset:
    """Return the features of `key`, memory-mapped; `encode` makes them if they are not there, or damaged.

    What `encode` warned of when it made them is said again. Where nothing can be kept (a full disk, a folder that
    cannot be written) they stay in memory, and one warning says so.

    Args:
        encode: Makes the features.
        key: All that they depend on, as JSON.
        cache_dir: Folder of the cache; None is `light_peft` in the user's cache folder, `OFF` keeps nothing.
    """
    if cache_dir == OFF:
        return encode()
    name = hashlib.sha256(json.dumps({"format": FORMAT, "key": dict(key)}, sort_keys=True).encode()).hexdigest()
    folder = cache_root(cache_dir) / name
    if (found := _read(folder)) is not None:
        return found
    with _warnings() as warnings:
        features = encode()
    try:
        return _keep(features, {"key": dict(key), "warnings": warnings}, folder)
    except OSError as error:
        _warn_once(folder.parent, error.strerror or str(error))
        return features


def cache_root(cache_dir: str | None) -> Path:
    """Return the folder of the entries."""
    if cache_dir is not None:
        return Path(os.path.expanduser(cache_dir))
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "light_peft"


def _read(folder: Path) -> datasets.Dataset | None:
    """Return the features of an entry; None if it is not there, or is damaged, and then it is gone."""
    if not os.path.isdir(folder):
        return None
    try:
        features, warnings = _load(folder)
    except (OSError, ValueError) as error:
        logger.warning("%s: cannot be read, its examples are encoded anew (%s)", folder, error)
        shutil.rmtree(folder, ignore_errors=True)
        return None
    for warning in warnings:
        logger.warning("%s", warning)
    return features


def _load(folder: Path) -> tuple[datasets.Dataset, list[str]]:
    """Return the features and warnings of an entry whose own files are as they were written.

    Raises:
        ValueError: If a file is missing, damaged or has changed.
        OSError: If one cannot be read.
    """
    entry = read_json(folder / ENTRY)
    files = entry.get("files") if isinstance(entry, dict) else None
    if not files or files != {name: file_sha256(folder / name) for name in files}:
        raise ValueError("a file has changed since it was written: sha256 differs")
    with suppress(OSError):
        os.utime(folder / ENTRY)
    return datasets.Dataset.load_from_disk(str(folder), keep_in_memory=False), entry.get("warnings", [])


def _keep(features: datasets.Dataset, notes: dict[str, Any], folder: Path) -> datasets.Dataset:
    """Write an entry and return its features; of several processes that do so at once the first one's stays.

    Raises:
        OSError: If it cannot be written.
    """
    try:
        with whole_folder(folder) as temporary:
            with quiet_progress():
                features.save_to_disk(str(temporary))
            files = {path.name: file_sha256(path) for path in sorted(temporary.iterdir())}
            write_json(temporary / ENTRY, {**notes, "files": files})
    except OSError:
        if not (folder / ENTRY).exists():
            raise
    try:
        kept, _ = _load(folder)
    except ValueError as error:
        raise OSError(f"{folder}: {error}") from error
    _make_room(folder.parent)
    return kept


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Give the list of what the package warns of inside."""
    found: list[str] = []
    package, handler = logging.getLogger("light_peft"), logging.Handler(logging.WARNING)
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    package.addHandler(handler)
    try:
        yield found
    finally:
        package.removeHandler(handler)


def _make_room(root: Path) -> None:
    """Remove what is left of old writes, and beyond `MAX_BYTES` the entries that were used longest ago."""
    recently = time.time() - KEEP_SECONDS
    with suppress(OSError):
        for folder in filter(lambda path: _UNFINISHED.fullmatch(path.name), list(root.iterdir())):
            if folder.stat().st_mtime < recently:
                shutil.rmtree(folder, ignore_errors=True)
        entries = [folder for folder in root.iterdir() if _NAME.fullmatch(folder.name) and (folder / ENTRY).exists()]
        used = {folder: (folder / ENTRY).stat().st_mtime for folder in entries}
        sizes = {folder: sum(path.stat().st_size for path in folder.iterdir()) for folder in entries}
        for folder in sorted((folder for folder in entries if used[folder] < recently), key=used.__getitem__):
            if sum(sizes.values()) > MAX_BYTES:
                shutil.rmtree(folder, ignore_errors=True)
                del sizes[folder]


@functools.cache
def _warn_once(root: Path, reason: str) -> None:
    logger.warning("%s: encoded examples are not kept: %s (data.cache_dir=off asks for that)", root, reason)
