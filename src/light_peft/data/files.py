"""Reading one file of a task, of any ending and format, into a `Table`."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow  # type: ignore[import-untyped]
import pyarrow.parquet  # type: ignore[import-untyped]

from light_peft.config import OfficialData, TaskConfig
from light_peft.data.cells import read_csv, read_tsv, text_lines
from light_peft.data.formats import Placed, format_of
from light_peft.data.rows import MissingColumnError, entries, pick_columns, tabulate
from light_peft.data.table import Table

HALF_CHARACTER = re.compile(r"\\ud[89ab]..(?!\\ud[c-f])|(?<!\\ud[89ab]..)\\ud[c-f]", re.IGNORECASE)
"""What may be an escape for one half of a character beyond 16 bits; a backslash that is itself escaped is none."""
CLASS = re.compile(r"\b\w+(?:Error|Exception): ")
"""What the library's messages hold of its own classes."""

TableReader = Callable[[Path, Sequence[str] | None, OfficialData], Table]
ObjectReader = Callable[[Path, str | None], Iterator[Placed]]


def read_file(path: Path, columns: Sequence[str], task: TaskConfig) -> Table:
    """Return `columns` of the file; its own names may be the task's or those that `official.rename` knows.

    Labels come from `official.label_file` if that lies beside the file.

    Raises:
        ValueError: the ending is unknown, or the file cannot be read, is not UTF-8, lacks a column or has a row that
            does not fit its header (unless `official.malformed` is skip), an object that does not fit `task.format`,
            or another number of labels than rows.
    """
    endings = [*TABLES, *OBJECTS]
    if path.suffix not in endings:
        raise ValueError(f"{path} ends in '{path.suffix}', must be one of: {' '.join(endings)}")
    beside = _label_file(path, task) if task.label in columns else None
    try:
        if beside is not None and beside.is_file():
            table = _read(path, [column for column in columns if column != task.label], task)
            return replace(table, columns=table.columns | {task.label: _read_labels(beside, table)})
        return _read(path, columns, task)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    except MissingColumnError as error:
        if error.column == task.idx:
            raise ValueError(f"{error}; task.idx=null counts the examples instead") from error
        if beside is None or error.column != task.label:
            raise
        raise ValueError(f"{error}; its labels may lie beside it in {beside.name}, which is not there") from error


def _read(path: Path, columns: Sequence[str], task: TaskConfig) -> Table:
    form = format_of(task.format)
    if path.suffix in OBJECTS:
        objects = OBJECTS[path.suffix](path, form.container if form else None)
        like = Table(str(path), {}, [], "line" if path.suffix == ".jsonl" else "object")
    elif form is None:
        return TABLES[path.suffix](path, columns, task.official)
    else:
        like = TABLES[path.suffix](path, None, task.official)
        objects = entries(like)
    return tabulate(objects, form, columns, rename=task.official.rename, like=like)


def _label_file(path: Path, task: TaskConfig) -> Path | None:
    name = task.official.label_file
    return None if name is None else path.with_name(name.format(stem=path.stem))


def _read_labels(path: Path, table: Table) -> list[str]:
    labels = [line.strip() for _, line in text_lines(path) if line.strip()]
    if len(labels) != len(table):
        raise ValueError(f"{path} has {len(labels)} labels, but {table.source} has {len(table)} rows")
    return labels


def _read_jsonl(path: Path, container: str | None) -> Iterator[Placed]:
    """Yield the object of each line; a container is for whole files only."""
    for number, line in text_lines(path):
        if line.strip():
            yield Placed(number, _parse_json(f"{path}, line {number}", line))


def _read_json(path: Path, container: str | None) -> Iterator[Placed]:
    """Yield the objects of the file's list, which may stand at the key `container` of one object."""
    objects = _parse_json(str(path), "\n".join(line for _, line in text_lines(path)))
    expected = "a list of objects"
    if container is not None and isinstance(objects, dict):
        objects, expected = objects.get(container), f"an object with a list at '{container}'"
    if not isinstance(objects, list):
        raise ValueError(f"{path} holds a JSON {type(objects).__name__}, must be {expected}")
    yield from (Placed(number, values) for number, values in enumerate(objects, start=1))


def _parse_json(source: str, text: str) -> Any:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        hint = "; a file with an object on each line must end in .jsonl" if error.msg == "Extra data" else ""
        raise ValueError(f"{source} is not JSON: {error}{hint}") from error
    except RecursionError as error:
        raise ValueError(f"{source} is nested too deeply, which no task's objects are") from error
    except ValueError as error:  # Python reads no number of more than some thousand digits
        raise ValueError(f"{source} cannot be read: {error}") from error
    if HALF_CHARACTER.search(text) and not _is_text(found):
        raise ValueError(f"{source} holds half a character: a code from \\ud800 to \\udfff that is no pair")
    return found


def _is_text(found: Any) -> bool:
    """Return whether all that was read can be written again."""
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_parquet(path: Path, columns: Sequence[str] | None, official: OfficialData) -> Table:
    try:
        schema = pyarrow.parquet.read_schema(path)
        if columns is None:
            picked = {name: name for name in schema.names}
        else:
            picked = pick_columns(str(path), schema.names, columns, official.rename)
        table = pyarrow.parquet.read_table(path, columns=list(picked.values()))
        cells = {name: table[name].to_pylist() for name in picked.values()}
    except MissingColumnError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        raise ValueError(f"{path} is not a parquet file, or damaged: {CLASS.sub('', str(error))}") from error
    features = _features(path, table.schema)
    values = {column: as_written(cells[name], features[name]) for column, name in picked.items()}
    return Table(str(path), values, range(1, table.num_rows + 1), "row")


def _features(path: Path, schema: pyarrow.Schema) -> datasets.Features:
    """Return the types of the columns, with the names of classes that `datasets` has noted in the file."""
    try:
        return datasets.Features.from_arrow_schema(schema)
    except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError) as error:
        problem = f"{path}: the types of its columns cannot be read: {error}"
        raise ValueError(f"{problem}; write it without the metadata `huggingface`, or with plain columns") from error


def as_written(values: list[Any], feature: Any) -> list[Any]:
    """Return the values of a stored column as the official files write them.

    Class numbers are spelled as their names, so that another order of classes does no harm; a figure of 32 bits is the
    shortest one that it stands for (3.8, not 3.799999952), so that it is equal to that of a text file.
    """
    if isinstance(feature, datasets.Value) and feature.dtype == "float32":
        return [None if value is None else float(str(np.float32(value))) for value in values]
    if not isinstance(feature, datasets.ClassLabel):
        return values
    known = range(feature.num_classes)
    return [feature.names[value] if value in known else value for value in values]


TABLES: dict[str, TableReader] = {".tsv": read_tsv, ".csv": read_csv, ".parquet": _read_parquet}
"""File name ending -> reader of the columns that are asked for, or of all."""
OBJECTS: dict[str, ObjectReader] = {".jsonl": _read_jsonl, ".json": _read_json}
"""File name ending -> reader of the objects, which a format may unfold."""
