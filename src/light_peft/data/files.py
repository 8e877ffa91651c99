"""Reading one file of a task, of any format, into a `Table`."""

import csv
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow  # type: ignore[import-untyped]
import pyarrow.parquet  # type: ignore[import-untyped]

from light_peft.config import OfficialData
from light_peft.data.table import Table

logger = logging.getLogger(__name__)

Cells = Sequence[str]
Reader = Callable[[Path, Sequence[str], OfficialData], Table]


def read_file(path: Path, columns: Sequence[str], official: OfficialData) -> Table:
    """Return `columns` of the file; its own names may be the task's or those that `official.rename` knows.

    Raises:
        ValueError: the ending is unknown, or the file cannot be read, is not UTF-8, lacks a column or has a row that
            does not fit its header (unless `official.malformed` is skip).
    """
    reader = READERS.get(path.suffix)
    if reader is None:
        raise ValueError(f"{path} ends in '{path.suffix}', must be one of: {' '.join(READERS)}")
    try:
        return reader(path, columns, official)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def pick_columns(source: str, header: Sequence[str], columns: Sequence[str], rename: dict[str, str]) -> dict[str, str]:
    """Return for each of `columns` the name that it has in `header`.

    Raises:
        ValueError: a column is missing, or two of the header stand for the same one.
    """
    picked = {}
    for column in columns:
        found = [name for name in header if name == column or rename.get(name) == column]
        if not found:
            expected = " or ".join([column, *(old for old, new in rename.items() if new == column)])
            raise ValueError(f"{source} has no column {expected}, its columns are: {', '.join(header)}")
        if len(found) > 1:
            raise ValueError(f"{source} has several columns for {column}: {', '.join(found)}")
        picked[column] = found[0]
    return picked


def _text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of the lines; only a line feed ends one, its carriage return is dropped."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(f"{path}, line {number} is not UTF-8: {error.reason}") from error
            yield number, text.rstrip("\r\n")


def read_tsv(path: Path, columns: Sequence[str], official: OfficialData) -> Table:
    """Return `columns` of the file, whatever its ending: tabs separate, nothing is quoted, an empty line is no row.

    Raises:
        ValueError: as `read_file`.
    """
    rows = ((number, line.split("\t")) for number, line in _text_lines(path) if line)
    return _from_cells(path, rows, columns, official)


def _read_csv(path: Path, columns: Sequence[str], official: OfficialData) -> Table:
    """Commas separate, double quotes quote, the first line is the header."""
    reader = csv.reader((f"{line}\n" for _, line in _text_lines(path)), strict=True)
    try:
        rows = [(reader.line_num, cells) for cells in reader if cells]
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num} is not CSV: {error}") from error
    return _from_cells(path, iter(rows), columns, OfficialData(rename=official.rename, malformed=official.malformed))


def _from_cells(
    path: Path, rows: Iterator[tuple[int, list[str]]], columns: Sequence[str], official: OfficialData
) -> Table:
    first = next(rows, None)
    if first is None:
        raise ValueError(f"{path} is empty")
    header, pending = _header(first, columns, official)
    picked = pick_columns(str(path), header, columns, official.rename)
    positions = [header.index(picked[column]) for column in columns]
    kept: list[tuple[str, ...]] = []
    places: list[int] = []
    skipped: list[int] = []
    for number, cells in (*pending, *rows):
        if len(cells) == len(header):
            kept.append(tuple(cells[position] for position in positions))
            places.append(number)
        elif official.malformed == "skip":
            skipped.append(number)
        else:
            raise ValueError(f"{path}, line {number} has {len(cells)} columns, must have {len(header)}")
    if skipped:
        logger.warning("%s: skipped %d malformed lines, first line %d", path, len(skipped), skipped[0])
    values = zip(*kept, strict=True) if kept else ((),) * len(columns)
    return Table(str(path), {column: list(cells) for column, cells in zip(columns, values, strict=True)}, places)


def _header(
    first: tuple[int, list[str]], columns: Sequence[str], official: OfficialData
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header and the rows read on the way to it; a headerless task's file may still have its own header."""
    names = {official.rename.get(cell, cell) for cell in first[1]}
    if official.header is None or names.issuperset(columns):
        return first[1], []
    return official.header, [first]


def _read_jsonl(path: Path, columns: Sequence[str], official: OfficialData) -> Table:
    objects, places = [], []
    for number, line in _text_lines(path):
        if line.strip():
            objects.append(_parse_json(f"{path}, line {number}", line))
            places.append(number)
    return _from_objects(path, objects, places, columns=columns, official=official)


def _read_json(path: Path, columns: Sequence[str], official: OfficialData) -> Table:
    objects = _parse_json(str(path), "\n".join(line for _, line in _text_lines(path)))
    if not isinstance(objects, list):
        raise ValueError(f"{path} holds a JSON {type(objects).__name__}, must be a list of objects")
    places = range(1, len(objects) + 1)
    return _from_objects(path, objects, places, columns=columns, official=official, unit="object")


def _parse_json(source: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{source} is not JSON: {error}") from error


def _from_objects(
    path: Path,
    objects: Sequence[Any],
    places: Sequence[int],
    *,
    columns: Sequence[str],
    official: OfficialData,
    unit: str = "line",
) -> Table:
    values: dict[str, list[Any]] = {column: [] for column in columns}
    for place, entry in zip(places, objects, strict=True):
        source = f"{path}, {unit} {place}"
        if not isinstance(entry, dict):
            raise ValueError(f"{source} is a JSON {type(entry).__name__}, must be an object")
        for column, name in pick_columns(source, list(entry), columns, official.rename).items():
            values[column].append(entry[name])
    return Table(str(path), values, places, unit)


def _read_parquet(path: Path, columns: Sequence[str], official: OfficialData) -> Table:
    try:
        schema = pyarrow.parquet.read_schema(path)
        picked = pick_columns(str(path), schema.names, columns, official.rename)
        table = pyarrow.parquet.read_table(path, columns=list(picked.values()))
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{path} is not a parquet file: {error}") from error
    features = datasets.Features.from_arrow_schema(table.schema)
    values = {column: class_names(table[name].to_pylist(), features[name]) for column, name in picked.items()}
    return Table(str(path), values, range(1, table.num_rows + 1), "row")


def class_names(values: list[Any], feature: Any) -> list[Any]:
    """Return the values with class numbers spelled as their names, so that another order of classes does no harm."""
    if not isinstance(feature, datasets.ClassLabel):
        return values
    known = range(feature.num_classes)
    return [feature.names[value] if value in known else value for value in values]


READERS: dict[str, Reader] = {
    ".tsv": read_tsv,
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".parquet": _read_parquet,
}
"""File name ending -> its reader."""
