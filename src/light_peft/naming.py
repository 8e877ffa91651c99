"""Checks of the names in a configuration: none is empty, and those of files stay in their folder."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from light_peft.config import TaskConfig

MAY_BE_EMPTY = ("task.hub.path", "task.official.folder")
"""Keys whose empty text means something."""
DISTINCT = ("task.text", "task.labels", "task.metrics", "task.choice.columns", "peft.targets")
"""Lists in which nothing may stand twice."""


def empty_names(part: Any, prefix: str = "") -> Iterator[str]:
    """Yield a line for every text that is empty, and for every list that holds an empty one or one twice."""
    for entry in fields(part):
        key, value = prefix + entry.name, getattr(part, entry.name)
        if is_dataclass(value):
            yield from empty_names(value, f"{key}.")
        elif isinstance(value, str) and not value.strip() and key not in MAY_BE_EMPTY:
            yield f"{key}={value!r}: must not be empty{'; null leaves it out' if entry.default is None else ''}"
        elif isinstance(value, str) and "\0" in value:
            yield f"{key}={value!r}: must not hold the character of number 0"
        elif isinstance(value, list) and "" in value:
            yield f"{key}={value}: must not hold an empty name"
        elif key in DISTINCT and len(set(map(str, value))) < len(value):
            yield f"{key}={value}: must not hold a name twice"


def file_names(task: TaskConfig) -> Iterator[str]:
    """Yield a line for every name of a split or a file to write that would lead out of the folder it belongs to."""
    names = {
        "task.submission.file": [task.submission.file],
        "task.submission.files": list(task.submission.files.values()),
    }
    for key, splits in (("official", task.official), ("hub", task.hub)):
        names |= {f"task.{key}.validation": list(splits.validation), f"task.{key}.test": list(splits.test)}
    if task.official.generator is not None and (task.official.folder.startswith("/") or ".." in task.official.folder):
        yield f"task.official.folder={task.official.folder!r}: must lie within the run's folder, where it is generated"
    for key, held in names.items():
        for name in held:
            if not name or name.startswith(".") or any(mark in name for mark in "/\\\0"):
                yield f"{key}: {name!r} must be a plain name, without / and not beginning with a dot"
