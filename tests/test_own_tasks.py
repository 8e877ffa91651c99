"""A task of one's own without code: by overrides of one that is like it, or by a YAML of one's own."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from command_line import FAST, Outcome, command
from light_peft import artifacts
from light_peft.artifacts import RunRecord
from test_bad_input import assert_refused

WORDS = (*FAST, "data.max_length=48", "data.cache_dir=off", "save.predictions=true", "run_dir=run")
THINGS = ("lamp", "river", "horse")
Row = Mapping[str, Any]


def jsonl(path: Path, rows: Sequence[Row]) -> Path:
    path.write_text("".join(json.dumps(dict(row)) + "\n" for row in rows), encoding="utf-8")
    return path


def table(path: Path, rows: Sequence[Row]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def finished(outcome: Outcome) -> RunRecord:
    assert outcome.code == 0, outcome.output
    record = RunRecord.read(outcome.folder / "run")
    assert record.status == "finished"
    return record


def predictions(folder: Path, split: str = "validation", name: str = "predictions.jsonl") -> list[Any]:
    path = folder / "run" / artifacts.PREDICTIONS / split / name
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def replies(count: int) -> list[Row]:
    return [
        {"question": f"Is the {THINGS[i % 3]}, no. {i}, here?", "reply": "It is.", "fits": ("no", "yes")[i % 2]}
        for i in range(count)
    ]


def test_classification_of_json_lines_and_a_table(tmp_path: Path) -> None:
    train, dev = jsonl(tmp_path / "my.jsonl", replies(16)), table(tmp_path / "dev.csv", replies(6))
    blind = jsonl(tmp_path / "blind.jsonl", [{"question": row["question"], "reply": "No."} for row in replies(4)])
    words = ["task=rte", "task.text=[question,reply]", "task.label=fits", 'task.labels=["no","yes"]']
    files = [f"data.files.train={train}", f"data.files.validation={dev}", f"data.files.test={blind}"]
    record = finished(command(tmp_path, *WORDS, *words, *files, "task.submission.format=jsonl"))
    assert record.data["rows"] == {"train": 16, "validation": 6}
    for split, count in (("validation", 6), ("test", 4)):
        found = predictions(tmp_path, split, "RTE.jsonl")
        assert [row["id"] for row in found] == list(map(str, range(count)))
        assert {row["prediction"] for row in found} <= {"no", "yes"}


@pytest.mark.parametrize("model", ["tiny_bert", "tiny_llama"])
def test_a_choice_with_a_column_for_each_candidate(tmp_path: Path, model: str) -> None:
    rows = [
        {"goal": f"Light room {i}", "first": "a lamp", "second": "a river", "right": ("first", "second")[i % 2]}
        for i in range(12)
    ]
    own = table(tmp_path / "own.csv", rows)
    words = ["task=piqa", "task.choice.columns=[first,second]", "task.label=right", f"model={model}"]
    words += ['task.prompt="{goal}:"', "task.submission.format=jsonl"]
    record = finished(command(tmp_path, *WORDS, *words, f"data.files.train={own}", f"data.files.validation={own}"))
    assert record.data["duplicates"] == {"validation": 12}
    assert {row["prediction"] for row in predictions(tmp_path)} <= {0, 1}


def test_generation_of_one_answer(tmp_path: Path) -> None:
    rows = [{"question": f"What is in room {i}?", "answer": THINGS[i % 3]} for i in range(12)]
    own = jsonl(tmp_path / "own.jsonl", rows)
    words = ["task=webqs", "task.format=rows", "task.label=answer", "task.generation.max_new_tokens=4"]
    files = [f"data.files.train={own}", f"data.files.validation={own}"]
    finished(command(tmp_path, *WORDS, *words, *files, "model=tiny_llama"))
    found = predictions(tmp_path)
    assert len(found) == 12
    assert all(isinstance(row["prediction"], str) for row in found)


def contexts(count: int) -> list[Row]:
    pairs = [(f"The {THINGS[i % 3]} is in room {i}.", THINGS[i % 3]) for i in range(count)]
    return [
        {"number": i, "ask": "What is there?", "story": text, "gold": {"text": [word], "answer_start": [4]}}
        for i, (text, word) in enumerate(pairs)
    ]


SPANS = ["task=squad", "task.format=rows", "task.text=[ask,story]", "task.label=gold", "task.idx=number"]


def test_spans_of_flat_rows(tmp_path: Path) -> None:
    own = jsonl(tmp_path / "own.jsonl", contexts(12))
    files = [f"data.files.train={own}", f"data.files.validation={own}", "task.span.stride=8"]
    finished(command(tmp_path, *WORDS, *SPANS, *files))
    found = json.loads((tmp_path / "run" / artifacts.PREDICTIONS / "validation" / "predictions.json").read_text())
    assert list(found) == list(map(str, range(12)))
    assert all(found[str(row["number"])] in row["story"] for row in contexts(12))


MINE = """
name: mine
formulation: classification
text: [question, reply]
label: fits
labels: ["no", "yes"]
metrics: [accuracy, f1]
primary_metric: f1
official:
  folder: mine
  train: train.jsonl
  validation:
    validation: dev.csv
"""


def test_a_yaml_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "conf/task").mkdir(parents=True)
    (tmp_path / "conf/task/mine.yaml").write_text(MINE, encoding="utf-8")
    (tmp_path / "data/mine").mkdir(parents=True)
    jsonl(tmp_path / "data/mine/train.jsonl", replies(16))
    table(tmp_path / "data/mine/dev.csv", replies(6))
    where = f"--config-dir={tmp_path / 'conf'}"
    record = finished(command(tmp_path, *WORDS, "task=mine", where, "data.dir=data"))
    assert (record.task, record.primary_metric, list(record.metrics)) == ("mine", "f1", ["accuracy", "f1"])
    again = command(tmp_path, "evaluate=run")
    assert again.code == 0, again.output
    nowhere = command(tmp_path, *WORDS, "run_dir=other", "task=mine", where)
    assert_refused(
        nowhere,
        r"^task mine is not on the hub \(task\.hub\.path is empty\); give data\.dir=\.\.\. \(a folder with mine\)",
    )
    (tmp_path / "conf/task/mine.yaml").write_text(MINE.replace("[question, reply]", "[question: reply]"))
    words = [where, "task=mine", "data.dir=data", "run_dir=third"]
    assert_refused(command(tmp_path, *WORDS, *words), r"^task\.text holds {'question': 'reply'}, must be names")
