"""Hold two run folders against each other: what two runs of one configuration must have in common.

    python scripts/run_differences.py RUN RUN

Prints the differences, one line each; the exit code is 1 if there are any.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from light_peft import artifacts

TIMES = {"seconds", "part_seconds", "peak_memory_bytes", "memory_at_start_bytes", "resumed", "words"}
"""Fields of a record that may differ between equal runs."""
NOT_COMPARED = {artifacts.RECORD, artifacts.CONFIG, artifacts.LOG, artifacts.LOCK}
"""Files of a run that hold times, or are compared in another way."""


def differences(expected: Path, found: Path) -> list[str]:
    """Return what differs between two run folders: files by their bytes, the records by what has to be equal."""
    ours, theirs = files_of(expected), files_of(found)
    problems = [
        f"{name}: {'missing' if name not in theirs else 'not expected'}" for name in ours.keys() ^ theirs.keys()
    ]
    problems += [f"{name}: other bytes" for name in ours.keys() & theirs.keys() if ours[name] != theirs[name]]
    problems += list(record_differences(*(record_of(folder) for folder in (expected, found))))
    return sorted(problems)


def files_of(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file that has to be equal."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: artifacts.file_sha256(path) for name, path in paths.items() if name not in NOT_COMPARED}


def record_of(folder: Path) -> Any:
    """Return the record without times and memory."""
    return without_times(artifacts.read_json(folder / artifacts.RECORD))


def without_times(values: Any) -> Any:
    """Return JSON values without what may differ between equal runs."""
    if isinstance(values, dict):
        return {key: without_times(value) for key, value in values.items() if key not in TIMES}
    return [without_times(value) for value in values] if isinstance(values, list) else values


def record_differences(expected: Any, found: Any, place: str = "record") -> Iterator[str]:
    """Yield the places at which two records differ."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(expected.keys() | found.keys()):
            yield from record_differences(expected.get(key), found.get(key), f"{place}.{key}")
    elif expected != found:
        yield f"{place}: {expected!r} expected, {found!r} found"[:300]


if __name__ == "__main__":
    found = differences(*map(Path, sys.argv[1:3]))
    sys.stdout.write("".join(f"{line}\n" for line in found))
    sys.exit(bool(found))
