import json
from pathlib import Path

import pytest
from task_files import tiny_task, write, write_parquet

from light_peft.data.files import read_file
from light_peft.data.table import Table

COLUMNS = ["sentence", "label"]


def read(path: Path, **official: object) -> Table:
    return read_file(path, COLUMNS, tiny_task(**official))


def rows(table: Table) -> list[tuple[object, ...]]:
    return list(zip(*(table.columns[column] for column in COLUMNS), strict=True))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.tsv", "label\tsentence\nyes\tgood, one\nno\tbad\n"),
        ("a.csv", 'label,sentence\nyes,"good, one"\nno,bad\n'),
        ("a.jsonl", '{"label": "yes", "sentence": "good, one"}\n\n{"sentence": "bad", "label": "no"}\n'),
        ("a.json", '[{"label": "yes", "sentence": "good, one"},\n {"sentence": "bad", "label": "no"}]'),
    ],
)
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_every_text_format_gives_the_same_rows(tmp_path: Path, name: str, text: str, bom: bytes, newline: str) -> None:
    table = read(write(tmp_path / name, bom + text.replace("\n", newline).encode()))
    assert rows(table) == [("good, one", "yes"), ("bad", "no")]


def test_parquet_class_numbers_are_read_as_names(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"sentence": ["x", "y"], "label": [1, 0]}, ["yes", "no"])
    assert rows(read(path)) == [("x", "no"), ("y", "yes")]


def test_parquet_figures_of_32_bits_are_those_of_the_text_files(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"sentence": ["x", "y", "z"], "label": [3.8, 0.2, 5.0]})
    assert rows(read(path)) == [("x", 3.8), ("y", 0.2), ("z", 5.0)]


def test_parquet_hidden_label_stays(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"sentence": ["x"], "label": [-1]}, ["yes", "no"])
    assert rows(read(path)) == [("x", -1)]


def test_tsv_knows_no_quotes_and_no_other_line_ends(tmp_path: Path) -> None:
    odd = 'a "quote, \u2028 and \u0085 and \x0b and \x1c and a \r inside'
    table = read(write(tmp_path / "a.tsv", f'sentence\tlabel\n{odd}\tyes\n"open\tno\n'))
    assert rows(table) == [(odd, "yes"), ('"open', "no")]


def test_tsv_without_a_last_newline_and_with_empty_cells(tmp_path: Path) -> None:
    assert rows(read(write(tmp_path / "a.tsv", "label\tsentence\nyes\t\n\nno\tb"))) == [("", "yes"), ("b", "no")]


def test_columns_are_renamed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "#1 String\tQuality\tid\nx\t1\t9\n")
    assert rows(read(path, rename={"#1 String": "sentence", "Quality": "label"})) == [("x", "1")]


def test_headerless_file_and_the_same_task_with_a_header(tmp_path: Path) -> None:
    header = ["source", "label", "star", "sentence"]
    assert rows(read(write(tmp_path / "a.tsv", "gj\t1\t\tx\ngj\t0\t*\ty\n"), header=header)) == [("x", "1"), ("y", "0")]
    table = read(write(tmp_path / "b.tsv", "sentence\tlabel\nx\t1\n"), header=header)
    assert rows(table) == [("x", "1")]
    assert table.where(0).endswith("b.tsv, line 2")


def test_malformed_lines_are_skipped_if_asked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "a.tsv", "sentence\tlabel\nx\tyes\nbroken\ny\tno\textra\nz\tno\n")
    with pytest.raises(ValueError, match=r"a\.tsv, line 3 has 1 columns, must have 2"):
        read(path)
    table = read(path, malformed="skip")
    assert rows(table) == [("x", "yes"), ("z", "no")]
    assert table.where(1).endswith("line 5")
    assert "skipped 2 malformed lines, first line 3" in caplog.text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"x", r"a\.txt ends in '\.txt', must be one of: \.tsv \.csv \.parquet \.jsonl \.json"),
        ("a.tsv", b"", r"a\.tsv is empty"),
        ("a.tsv", b"sentence\tlabel\nx\tyes\n\xff\tno\n", r"a\.tsv, line 3 is not UTF-8"),
        ("a.tsv", b"text\tlabel\nx\tyes\n", r"no column sentence, its columns are: text, label"),
        ("a.tsv", b"label\tsentence\tlabel\n1\tx\t0\n", r"several columns for label: label, label"),
        ("a.csv", b'sentence,label\n"x,yes\n', r"a\.csv, line \d is not CSV"),
        ("a.csv", b"sentence,label\nx,yes,1\n", r"a\.csv, line 2 has 3 columns, must have 2"),
        ("a.jsonl", b'{"sentence": "x", "label": 1}\n{oops}\n', r"a\.jsonl, line 2 is not JSON"),
        ("a.jsonl", b"[1]\n", r"a\.jsonl, line 1 is a JSON list, must be an object"),
        ("a.jsonl", b'{"sentence": "x"}\n', r"a\.jsonl, line 1 has no column label, its columns are: sentence"),
        ("a.json", b'{"sentence": "x"}', r"a\.json holds a JSON dict, must be a list of objects"),
        ("a.json", b"[", r"a\.json is not JSON"),
        ("a.json", json.dumps([{"sentence": "x", "label": 1}, 3]).encode(), r"object 2 is a JSON int"),
        ("a.parquet", b"nothing of the kind", r"a\.parquet is not a parquet file"),
    ],
)
def test_unreadable_file_is_named_with_its_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(write(tmp_path / name, content))


def test_missing_file_and_missing_parquet_column(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"b\.tsv cannot be read: .*No such file"):
        read(tmp_path / "b.tsv")
    path = write_parquet(tmp_path / "a.parquet", {"text": ["x"], "label": [0]}, ["no", "yes"])
    with pytest.raises(ValueError, match="no column sentence, its columns are: text, label"):
        read(path)


def test_a_missing_column_says_what_else_would_do(tmp_path: Path) -> None:
    task = tiny_task()
    task.idx = "number"
    task.official.label_file = "{stem}.lst"
    path = write(tmp_path / "a.jsonl", b'{"sentence": "x"}\n')
    with pytest.raises(ValueError, match=r"no column number, its columns are: sentence; task.idx=null counts"):
        read_file(path, ["sentence", "number"], task)
    with pytest.raises(ValueError, match=r"no column label, .* may lie beside it in a\.lst, which is not there$"):
        read_file(path, ["sentence", "label"], task)
    with pytest.raises(ValueError, match=r"no column other, its columns are: sentence$"):
        read_file(path, ["sentence", "other"], task)
