"""Reading files whose rows are cells: tabs or commas between them."""

import csv
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from light_peft.config import OfficialData
from light_peft.data.rows import pick_columns
from light_peft.data.table import Table

logger = logging.getLogger(__name__)


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of the lines; only a line feed ends one, its carriage return is dropped.

    Raises:
        ValueError: a line is not UTF-8.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(f"{path}, line {number} is not UTF-8: {error.reason}") from error
            yield number, text.rstrip("\r\n")


def read_tsv(path: Path, columns: Sequence[str] | None, official: OfficialData) -> Table:
    """Return `columns` of the file, or all, whatever its ending: tabs separate, nothing is quoted.

    An empty line is no row.

    Raises:
        ValueError: as `light_peft.data.files.read_file`.
    """
    rows = ((number, line.split("\t")) for number, line in text_lines(path) if line)
    return _from_cells(path, rows, columns, official)


def read_csv(path: Path, columns: Sequence[str] | None, official: OfficialData) -> Table:
    """Return `columns` of the file, or all: commas separate, double quotes quote, the first line is the header.

    Raises:
        ValueError: as `light_peft.data.files.read_file`.
    """
    reader = csv.reader((f"{line}\n" for _, line in text_lines(path)), strict=True)
    try:
        rows = [(reader.line_num, cells) for cells in reader if cells]
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num} is not CSV: {error}") from error
    return _from_cells(path, iter(rows), columns, OfficialData(rename=official.rename, malformed=official.malformed))


def _from_cells(
    path: Path, rows: Iterator[tuple[int, list[str]]], columns: Sequence[str] | None, official: OfficialData
) -> Table:
    first = next(rows, None)
    if first is None:
        raise ValueError(f"{path} is empty")
    header, pending = _header(first, columns, official)
    if columns is None:
        columns, picked = header, {name: name for name in header}
    else:
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
    first: tuple[int, list[str]], columns: Sequence[str] | None, official: OfficialData
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header and the rows read on the way to it; a headerless task's file may still have its own header."""
    names = {official.rename.get(cell, cell) for cell in first[1]}
    if official.header is None or (columns is not None and names.issuperset(columns)):
        return first[1], []
    return official.header, [first]
