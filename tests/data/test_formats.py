"""Every format on a hand-made object of the official release and on the hub's row of the same example."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from format_cases import CASES, LISTS, SCIQ, SQUAD_QUESTIONS, table, wsc
from task_files import columns_of, load_task, rows, write, write_objects, write_rows

from light_peft.data.files import read_file
from light_peft.data.formats import format_names, format_of
from light_peft.data.labels import parse_labels

CONTAINERS = {"squad": "data"}


@pytest.mark.parametrize("name", CASES)
def test_official_object_and_hub_rows_give_the_same_rows(tmp_path: Path, name: str) -> None:
    official, hub, expected = CASES[name]
    assert rows(table(write_objects(tmp_path / "a.jsonl", [official]), name)) == expected
    whole = write_objects(tmp_path / "a.json", [official], container=CONTAINERS.get(name))
    assert rows(table(whole, name)) == expected
    for path in (write_rows(tmp_path / "a.parquet", hub), write_objects(tmp_path / "b.jsonl", hub)):
        assert rows(table(path, name)) == expected


def test_every_format_is_tried_and_an_unknown_one_is_refused() -> None:
    tried = {load_task(name).format for name in CASES}
    assert format_names() == sorted([*tried, "rows"])
    assert format_of("rows") is None
    with pytest.raises(ValueError, match=r"task\.format is 'multirk', must be one of: arc, .*did you mean multirc\?"):
        format_of("multirk")


@pytest.mark.parametrize("name", ["multirc", "record", "wsc", "wic", "squad", "arc_easy", "webqs", "copa"])
def test_objects_without_labels_are_read_for_test_splits_only(tmp_path: Path, name: str) -> None:
    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            hidden = {"label", "answerKey", "targetValue"} if name != "arc_easy" else {"answerKey"}
            hidden |= {"answers"} if name in ("record", "squad") else set()
            return {key: bare(inner) for key, inner in value.items() if key not in hidden}
        return [bare(inner) for inner in value] if isinstance(value, list) else value

    official, _, expected = CASES[name]
    path = write_objects(tmp_path / "a.jsonl", [bare(official)])
    label = load_task(name).label
    assert rows(table(path, name, labelled=False)) == [
        {key: value for key, value in row.items() if key != label} for row in expected
    ]
    if name == "arc_easy":
        assert table(path, name).columns["label"] == [-1]
    else:
        with pytest.raises(ValueError, match=rf"a\.jsonl, line 1 has no column {label}, its columns are: "):
            table(path, name)


def test_an_empty_answer_key_is_a_hidden_label(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.parquet", [{"id": "q", "question": "x", "choices": LISTS, "answerKey": ""}])
    assert table(path, "arc_easy").columns["label"] == [-1]


def test_truth_values_are_labels_in_every_spelling(tmp_path: Path) -> None:
    task = load_task("boolq")
    objects = [
        {"question": "q", "passage": "p", "idx": number, "label": label}
        for number, label in enumerate([True, False, "True", "false", 1, "0"])
    ]
    found = read_file(write_objects(tmp_path / "a.jsonl", objects), columns_of(task)(labelled=True), task)
    assert parse_labels(found, task) == [1, 0, 1, 0, 1, 0]
    for wrong in ("yes", None, 2, 1.0):
        path = write_objects(tmp_path / "b.jsonl", [objects[0], objects[1] | {"label": wrong}])
        with pytest.raises(
            ValueError, match=r"b\.jsonl, line 2: label is .*, must be one of: False, True, or a number"
        ):
            parse_labels(read_file(path, columns_of(task)(labelled=True), task), task)


def test_an_impossible_question_has_no_answer_whatever_it_says(tmp_path: Path) -> None:
    question = SQUAD_QUESTIONS[0] | {"is_impossible": True}
    path = write_objects(
        tmp_path / "a.json", [{"paragraphs": [{"context": "🐟 is 🐡ish", "qas": [question]}]}], container="data"
    )
    assert table(path, "squad_v2").columns["answers"] == [{"text": [], "answer_start": []}]


def test_sciq_puts_the_right_answer_everywhere(tmp_path: Path) -> None:
    objects = [SCIQ | {"question": f"question {number}"} for number in range(400)]
    found = table(write_objects(tmp_path / "a.json", objects), "sciq")
    places = found.columns["label"]
    assert all(75 <= places.count(place) <= 125 for place in range(4))
    assert all(row["choices"][row["label"]] == "ice" for row in rows(found))
    assert all(sorted(row["choices"]) == ["air", "ice", "iron", "salt"] for row in rows(found))


@pytest.mark.parametrize(
    ("text", "noun", "pronoun", "shown"),
    [
        ("Ann's dog ran; It barked.", (0, "Ann"), (3, "it"), "* Ann's * dog ran; # It # barked."),
        ("Use the safe if it fits.", (2, "safe"), (3, "it"), "Use the * safe * if # it # fits."),
        ("So their mothers cried.", (1, "their mothers"), (1, "their"), "So * # their # mothers * cried."),
        (
            "Lev, with Ann and Bo, ran. They won.",
            (0, "Lev and Bo"),
            (6, "They"),
            "Lev, with Ann and Bo, ran. # They # won.",
        ),
    ],
    ids=["punctuation and case", "one word off", "one in the other", "apart"],
)
def test_wsc_marks_words(tmp_path: Path, text: str, noun: Any, pronoun: Any, shown: str) -> None:
    found = table(write_objects(tmp_path / "a.jsonl", [wsc(text, noun, pronoun)]), "wsc")
    assert found.columns["text"] == [shown]
    assert found.columns["statement"] == [f'"{pronoun[1]}" refers to "{noun[1]}".']


def test_a_file_of_cells_may_have_a_format(tmp_path: Path) -> None:
    header, cells = "word,sentence1,start1,end1,sentence2,start2,end2,idx,label", "run,I run.,2,5,A run,2,5,1,True"
    found = table(write(tmp_path / "a.csv", f"{header}\n{cells}\n"), "wic")
    assert rows(found) == [{"sentence1": "run: I * run *.", "sentence2": "A * run *", "idx": "1", "label": "True"}]
    assert found.where(0).endswith("a.csv, line 2")


PIQA = [{"goal": f"goal {number}", "sol1": "a", "sol2": "b"} for number in range(3)]


def test_labels_beside_a_file(tmp_path: Path) -> None:
    path = write_objects(tmp_path / "train.jsonl", PIQA)
    with pytest.raises(
        ValueError, match=r"no column label.*its labels may lie beside it in train-labels\.lst, which is"
    ):
        table(path, "piqa")
    write(tmp_path / "train-labels.lst", "0\n1\n1\n")
    assert table(path, "piqa").columns["label"] == ["0", "1", "1"]
    assert "label" not in table(path, "piqa", labelled=False).columns
    write(tmp_path / "train-labels.lst", "0\n1\n")
    with pytest.raises(ValueError, match=r"train-labels\.lst has 2 labels, but .*train\.jsonl has 3 rows"):
        table(path, "piqa")
    own = write_objects(tmp_path / "own.jsonl", [entry | {"label": 1} for entry in PIQA])
    assert table(own, "piqa").columns["label"] == [1, 1, 1]
    task = load_task("piqa")
    none = dataclasses.replace(task, official=dataclasses.replace(task.official, label_file=None))
    with pytest.raises(ValueError, match=r"line 1 has no column label, its columns are: goal, sol1, sol2$"):
        read_file(path, columns_of(task)(labelled=True), none)
