"""Bad files of examples: bytes that are no text, text that is no table, tables that are not the task's."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from fuzz.case import Case
from fuzz.stock import Stock

Row = dict[str, Any]
SPLITS = ("train", "validation")
ENDINGS = ("tsv", "csv", "jsonl", "json", "parquet")
COLUMNS = ("sentence1", "sentence2", "label")
LABELS = ("entailment", "not_entailment")


def good_rows(number: int = 8) -> list[Row]:
    """Return rows of the demo task."""
    texts = [(f"a cat sat on mat {row}", f"an animal sat on {row}") for row in range(number)]
    return [dict(zip(COLUMNS, (*pair, LABELS[row % 2]), strict=True)) for row, pair in enumerate(texts)]


def encoded(rows: list[Row], ending: str) -> bytes:
    """Return the rows as a file of this ending holds them."""
    if ending == "parquet":
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), sink)
        return sink.getvalue()
    if ending == "json":
        return json.dumps(rows, ensure_ascii=False).encode("utf-8", "surrogatepass")
    if ending == "jsonl":
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    else:
        mark = {"tsv": "\t", "csv": ","}[ending]
        lines = (
            [mark.join(rows[0]), *(mark.join(map(str, row.values())) for row in rows)] if rows else [mark.join(COLUMNS)]
        )
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass")


def laid(kind: str, what: str, split: str, name: str, put: Callable[[Path], object], **more: Any) -> Case:
    """Return the case of one bad file beside a good one; `put` makes it at its path."""

    def lay(folder: Path, stock: Stock) -> list[str]:
        words = []
        for each in SPLITS:
            path = folder / (name if each == split else f"{each}.tsv")
            if each == split:
                put(path)
            else:
                path.write_bytes(encoded(good_rows(), "tsv"))
            words.append(f"data.files.{each}='{path}'")
        return words

    return Case(kind, f"{split} {name}: {what}", lay, more.pop("names", re.escape(name)), **more)


def with_bytes(kind: str, what: str, split: str, ending: str, content: bytes, **more: Any) -> Case:
    return laid(kind, what, split, f"bad.{ending}", lambda path: path.write_bytes(content), **more)


WRONG_LABELS: tuple[Any, ...] = (
    "maybe",
    "",
    " ",
    "-1",
    "2",
    "7",
    "0.5",
    "Entailment",
    "entailment ",
    "nan",
    "ünicode",
    "1e0",
    "٣",
)
WRONG_VALUES: tuple[Any, ...] = (None, 5, 0.5, True, [], ["a"], {}, {"a": 1}, -1, 10**30, float("nan"))


@st.composite
def wrong_labels(draw: Any) -> Case:
    ending, split, row = draw(st.sampled_from(ENDINGS)), draw(st.sampled_from(SPLITS)), draw(st.integers(0, 7))
    label, rows = draw(st.sampled_from(WRONG_LABELS)), good_rows()
    rows[row]["label"] = label
    place = rf"bad\.{ending}.*(line|row|object) {row + 1 + (ending in ('tsv', 'csv'))}: label"
    return with_bytes("a label that is none", f"row {row} {label!r}", split, ending, encoded(rows, ending), names=place)


@st.composite
def wrong_cells(draw: Any) -> Case:
    """Values that are no texts, in files that can hold them."""
    ending, split, row = (
        draw(st.sampled_from(["jsonl", "json"])),
        draw(st.sampled_from(SPLITS)),
        draw(st.integers(0, 7)),
    )
    column, value, rows = draw(st.sampled_from(COLUMNS)), draw(st.sampled_from(WRONG_VALUES)), good_rows()
    if column == "label" and value in (True, 5) and value is True:
        value = None
    rows[row][column] = value
    names = rf"bad\.{ending}.*{row + 1}: {column}"
    return with_bytes(
        "a cell of another type", f"row {row} {column} {value!r}", split, ending, encoded(rows, ending), names=names
    )


TYPES: dict[str, Callable[[], pa.Array]] = {
    "numbers": lambda: pa.array(range(8)),
    "figures": lambda: pa.array([0.5] * 8),
    "nulls": lambda: pa.nulls(8),
    "one null": lambda: pa.array([*["entailment"] * 7, None]),
    "truths": lambda: pa.array([True] * 8),
    "bytes": lambda: pa.array([b"entailment"] * 8),
    "lists": lambda: pa.array([["a"]] * 8),
    "objects": lambda: pa.array([{"a": 1}] * 8),
    "times": lambda: pa.array([0] * 8, pa.timestamp("s")),
    "decimals": lambda: pa.array([None] * 8, pa.decimal128(5, 2)),
    "durations": lambda: pa.array([1] * 8, pa.duration("s")),
    "maps": lambda: pa.array([[("a", 1)]] * 8, pa.map_(pa.string(), pa.int64())),
}
METADATA = (
    b"not json",
    b"{}",
    b'{"info": 5}',
    b'{"info": {"features": 3}}',
    b"\xff\xfe",
    b'{"info": {"features": {"label": 1}}}',
)
UNKNOWN = b'{"info": {"features": {"label": {"_type": "Nope"}, "sentence1": {"dtype": "nope", "_type": "Value"}}}}'


@st.composite
def parquet_types(draw: Any) -> Case:
    split, column, named = (
        draw(st.sampled_from(SPLITS)),
        draw(st.sampled_from(COLUMNS)),
        draw(st.sampled_from(list(TYPES))),
    )
    if (column, named) in (("label", "truths"), ("label", "numbers")):
        named = "figures"
    table = pa.Table.from_pylist(good_rows())
    table = table.set_column(COLUMNS.index(column), column, TYPES[named]())
    sink = io.BytesIO()
    pq.write_table(table, sink)
    more = {"may_pass": named == "one null" and column != "label" and False}
    return with_bytes(
        "a parquet column of another type", f"{column} {named}", split, "parquet", sink.getvalue(), **more
    )


@st.composite
def parquet_metadata(draw: Any) -> Case:
    split, metadata = draw(st.sampled_from(SPLITS)), draw(st.sampled_from([*METADATA, UNKNOWN]))
    table = pa.Table.from_pylist(good_rows()).replace_schema_metadata({b"huggingface": metadata})
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return with_bytes(
        "a parquet file with odd metadata", repr(metadata), split, "parquet", sink.getvalue(), may_pass=True
    )


@st.composite
def wrong_columns(draw: Any) -> Case:
    ending, split, column = (
        draw(st.sampled_from(ENDINGS)),
        draw(st.sampled_from(SPLITS)),
        draw(st.sampled_from(COLUMNS)),
    )
    change = draw(st.sampled_from(["drop", "rename", "twice", "upper", "none", "blank"]))
    if change == "twice" and ending in ("json", "jsonl"):
        change = "drop"  # of a key that is there twice JSON keeps the last
    named = {"rename": f"{column}_", "upper": column.upper(), "blank": f" {column}"}.get(change, column)
    rows = [
        {named if name == column else name: value for name, value in row.items() if change != "drop" or name != column}
        for row in good_rows(0 if change == "none" else 8)
    ]
    content, names = encoded(rows, ending), rf"bad\.{ending}"
    if change == "none":
        names = rf"split is empty|bad\.{ending}"
    if change == "twice":
        table = pa.Table.from_pylist(rows)
        if ending == "parquet":
            sink = io.BytesIO()
            pq.write_table(table.append_column(column, table[column]), sink)
            content = sink.getvalue()
        else:
            mark = {"tsv": b"\t", "csv": b","}[ending]
            content = b"".join(
                line + mark + line.split(mark)[COLUMNS.index(column)] + b"\n" for line in content.splitlines()
            )
    return with_bytes("columns that are not the task's", f"{column} {change}", split, ending, content, names=names)


@st.composite
def ragged(draw: Any) -> Case:
    ending, split, row = draw(st.sampled_from(["tsv", "csv"])), draw(st.sampled_from(SPLITS)), draw(st.integers(1, 8))
    mark = {"tsv": "\t", "csv": ","}[ending]
    line = draw(
        st.sampled_from(
            [f"a{mark}b", "one", f"a{mark}b{mark}entailment{mark}", mark * 5, " ", 'a"b', f'"a{mark}b', f'a{mark}"b']
        )
    )
    lines = encoded(good_rows(), ending).decode().splitlines()
    lines.insert(row, line)
    content = "".join(f"{line}\n" for line in lines).encode()
    return with_bytes("a row that does not fit its header", f"line {row} {line!r}", split, ending, content)


@st.composite
def other_format(draw: Any) -> Case:
    """A good file whose ending tells of another format."""
    inner, ending = draw(st.sampled_from(ENDINGS)), draw(st.sampled_from(ENDINGS))
    inner = ("csv" if ending != "csv" else "tsv") if inner == ending or {inner, ending} == {"json", "jsonl"} else inner
    split = draw(st.sampled_from(SPLITS))
    return with_bytes("a file of another format than its ending's", inner, split, ending, encoded(good_rows(), inner))


KINDS = (wrong_labels, wrong_cells, parquet_types, parquet_metadata, wrong_columns, ragged, other_format)
