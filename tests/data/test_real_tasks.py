"""The real files of SuperGLUE, SQuAD and the QA tasks: every row is read, and known figures hold."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from task_files import REAL, columns_of, files, load_task, read, rows, write_rows

from light_peft.config import DataConfig
from light_peft.data.files import read_file
from light_peft.data.labels import parse_labels
from light_peft.data.table import Table

pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason=f"no real files at {REAL}")

ROWS = {
    "boolq": (9427, 3270, 3245),
    "cb": (250, 56, 250),
    "copa": (400, 100, 500),
    "multirc": (27243, 4848, 9693),
    "rte_sg": (2490, 277, 3000),
    "wsc": (554, 104, 146),
    "axb": (2490, 1104),
    "axg": (2490, 356),
    "openbookqa": (4957, 500, 500),
    "arc_easy": (2251, 570, 2376),
    "piqa": (16113, 1838, 3084),
    "webqs": (3778, 2032),
    "cola": (8551, 1043, 1063),
    "sst2": (67349, 872, 1821),
    "stsb": (5749, 1500, 1379),
    "rte": (2490, 277, 3000),
    "wnli": (635, 71, 146),
}
"""Task -> rows of train, validation and test."""


def official(name: str, *, test: bool = True) -> dict[str, Table]:
    return read(name, DataConfig(dir=str(REAL)), test=test)


@pytest.mark.parametrize("name", ROWS)
def test_every_row_of_a_whole_task_is_read(name: str) -> None:
    tables = official(name)
    assert tuple(map(len, tables.values())) == ROWS[name]
    assert list(tables) == ["train", "validation", "test"][: len(ROWS[name])]
    task = load_task(name)
    for split in ("train", "validation"):
        if task.labels:
            assert set(parse_labels(tables[split], task)) == set(range(len(task.labels)))
    if "test" in tables:
        assert task.label not in tables["test"].columns
    if task.idx:
        assert all(len(set(map(str, table.columns[task.idx]))) == len(table) for table in tables.values())


def test_subsets_by_data_files() -> None:
    squad = read("squad", files(REAL / "squad/train-v1.1.subset44.json", REAL / "squad/dev-v1.1.json"))
    assert {split: len(table) for split, table in squad.items()} == {"train": 11877, "validation": 10570}
    record = REAL / "superglue/ReCoRD"
    few = read("record", files(record / "fewglue_train.jsonl", record / "fewglue_dev32.jsonl"))
    assert {split: len(table) for split, table in few.items()} == {"train": 32, "validation": 32}


def test_known_rows() -> None:
    squad = read("squad", files(REAL / "squad/dev-v1.1.json", REAL / "squad/dev-v1.1.json"))["train"]
    first = rows(squad)[0]
    assert first["question"] == "Which NFL team represented the AFC at Super Bowl 50?"
    assert first["answers"] == {"text": ["Denver Broncos"] * 3, "answer_start": [177] * 3}
    assert Counter(official("wsc")["validation"].columns["label"]) == {False: 66, True: 38}
    multirc = official("multirc")["validation"]
    assert len(set(multirc.columns["group"])) == 953
    assert len(set(multirc.columns["idx"])) == 4848
    piqa = rows(official("piqa")["validation"])[0]
    assert piqa["label"] == "0"
    assert piqa["goal"].startswith("How do I ready a guinea pig cage")


def test_wsc_marks_both_spans_but_in_three_rows_of_the_test_split() -> None:
    for split, table in official("wsc").items():
        unmarked = [index for index, text in enumerate(table.columns["text"]) if text.split().count("*") != 2]
        assert unmarked == ([80, 81, 82] if split == "test" else [])
        assert all(text.split().count("#") == 2 for text in table.columns["text"])


def test_record_answers_are_among_the_names_and_fill_the_query() -> None:
    path = REAL / "superglue/ReCoRD/fewglue_train.jsonl"
    task = load_task("record")
    for row in rows(read_file(path, columns_of(task)(labelled=True), task)):
        assert set(row["answers"]) <= set(row["names"])
        assert all(name in choice for name, choice in zip(row["names"], row["choices"], strict=True))
        assert not any("@" in choice for choice in row["choices"])
        assert "@highlight" not in row["passage"]


def test_axg_rows_come_in_pairs() -> None:
    table = official("axg")["validation"]
    hypotheses, labels = table.columns["hypothesis"], table.columns["label"]
    assert hypotheses[::2] == hypotheses[1::2]
    assert labels[::2] == labels[1::2]


def test_webqs_answers_hold_no_trace_of_lisp() -> None:
    for table in official("webqs").values():
        answers = [answer for accepted in table.columns["answers"] for answer in accepted]
        assert all(map(len, table.columns["answers"]))
        assert not [answer for answer in answers if "(description" in answer or answer.endswith((")\\", "\\"))]
    assert ["Yellow Submarine", 'Pinocchio Medley ("Do You See the Noses Growing?"): Desolation Theme / When You Wish '
            "Upon a Star"] in [accepted[:2] for accepted in table.columns["answers"]]  # fmt: skip


def hub_rows(name: str, path: Path) -> list[dict[str, Any]]:
    """Return the rows that the hub has for an official file, made of what that file holds."""
    task = load_task(name)
    found = rows(read_file(path, columns_of(task)(labelled=True), task))
    if name in ("arc_easy", "openbookqa"):
        question = "question_stem" if name == "openbookqa" else "question"
        return [
            {
                "id": row["id"],
                question: row["question"],
                "choices": {"text": row["choices"], "label": list("ABCDE"[: len(row["choices"])])},
                "answerKey": "ABCDE"[row["label"]],
            }
            for row in found
        ]
    return found


@pytest.mark.parametrize(
    ("name", "folder", "train", "validation"),
    [
        ("openbookqa", "allenai/openbookqa/main", "qa/openbookqa/train.jsonl", "qa/openbookqa/dev.jsonl"),
        ("arc_easy", "allenai/ai2_arc/ARC-Easy", "qa/arc_easy/ARC-Easy-Train.jsonl", "qa/arc_easy/ARC-Easy-Dev.jsonl"),
        ("squad", "rajpurkar/squad/plain_text", "squad/train-v1.1.subset44.json", "squad/dev-v1.1.json"),
        ("cb", "aps/super_glue/cb", "superglue/CB/train.jsonl", "superglue/CB/val.jsonl"),
    ],
)
def test_the_hub_layout_gives_identical_rows(
    tmp_path: Path, name: str, folder: str, train: str, validation: str
) -> None:
    for split, file in (("train", train), ("validation", validation)):
        path = tmp_path / folder / f"{split}-00000-of-00001.parquet"
        write_rows(path, hub_rows(name, REAL / file))
    copies = read(name, DataConfig(dir=str(tmp_path)))
    for split, table in read(name, files(REAL / train, REAL / validation)).items():
        assert copies[split].columns == table.columns
