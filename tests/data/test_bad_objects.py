"""Every bad object gives one message that names file, line and key."""

import json
from pathlib import Path
from typing import Any

import pytest
from format_cases import ARC, CASES, COPA, MULTIRC, RECORD, SCIQ, SQUAD, WIC, WSC, table, wsc
from task_files import write, write_objects


def without(entry: dict[str, Any], *way: str | int) -> dict[str, Any]:
    """Return a copy that lacks the key at the end of the way."""
    copy: dict[str, Any] = json.loads(json.dumps(entry))
    inner: Any = copy
    for step in way[:-1]:
        inner = inner[step]
    del inner[way[-1]]
    return copy


def squad(start: int, text: str) -> dict[str, Any]:
    question = {"id": "a9", "question": "What?", "answers": [{"text": text, "answer_start": start}]}
    return {"title": "Sea", "paragraphs": [{"context": "🐟 is 🐡ish", "qas": [question]}]}


BAD: list[tuple[str, dict[str, Any], str]] = [
    (
        "multirc",
        without(MULTIRC, "passage", "questions", 1, "answers", 0, "text"),
        r"no key passage\.questions\[1\]\.answers\[0\]\.text, its keys are: idx, label",
    ),
    (
        "multirc",
        {"paragraph": "x", "question": "y", "answer": "z"},
        r"no key idx, its keys are: paragraph, question, answer",
    ),
    ("multirc", MULTIRC | {"idx": "seven"}, r": idx is 'seven', must be a whole number"),
    (
        "multirc",
        MULTIRC | {"passage": {"text": "x", "questions": 3}},
        r": passage\.questions is 3, must be a list of objects",
    ),
    ("record", without(RECORD, "qas", 0, "query"), r"no key qas\[0\]\.query"),
    (
        "record",
        RECORD | {"qas": [{"query": "no gap", "idx": 1}]},
        r"qas\[0\]\.query is 'no gap', must be a text with @placeholder",
    ),
    (
        "record",
        RECORD | {"passage": {"text": "x", "entities": [{"start": 0, "end": 1}]}},
        r"entities\[0\]\.end is 1, must be from start \(0\) to 0, the last",
    ),
    ("wic", WIC | {"end2": 99}, r": end2 is 99, must be above start2 \(12\) and at most 19"),
    ("wic", WIC | {"start2": 11, "end2": 12}, r": start2 is 11, must be the start of a word, but ' ' is there"),
    ("wic", without(WIC, "word"), r"no key word, its keys are"),
    (
        "wsc",
        wsc("Ann ran fast.", (0, "Bo"), (2, "fast")),
        r": target\.span1_text is 'Bo', must be in the text at word 0 \(span1_index\), but 'Ann' is there",
    ),
    (
        "wsc",
        wsc("Ann ran.", (0, "Ann"), (7, "she")),
        r": target\.span2_text is 'she', must be in the text at word 7 \(span2_index\), but '' is there",
    ),
    (
        "squad",
        squad(4, "🐡ish"),
        r"answers\[0\]\.answer_start is 4, must be where '🐡ish' stands in the context of question a9, but ' 🐡ish' is",
    ),
    ("squad", squad(0, ""), r"answer_start is 0, must be where '' stands in the context of question a9"),
    (
        "squad",
        {"id": "b", "question": "q", "context": "c", "answers": {"text": ["c"], "answer_start": []}},
        r": answers is .*, must be an object of lists of equal length",
    ),
    ("squad", {"title": "Sea", "paragraphs": [{"qas": []}]}, r"no key paragraphs\[0\]\.context, its keys are: qas"),
    (
        "arc_easy",
        ARC | {"answerKey": "D"},
        r": answerKey is 'D', must be one of the candidates' labels, which are: 1, 2, 3",
    ),
    ("arc_easy", without(ARC, "question", "choices"), r"no key question\.choices, its keys are: stem"),
    ("sciq", without(SCIQ, "distractor2"), r"no key distractor2"),
    (
        "webqs",
        {"utterance": "q", "targetValue": '(list (description "x)'},
        r"""targetValue is '\(list \(description "x\)', must be of the form""",
    ),
    ("webqs", {"utterance": "q", "targetValue": "(list (number 3))"}, "must be of the form"),
    ("webqs", {"utterance": "q", "targetValue": "(description x)"}, "must be of the form"),
    ("webqs", {"question": "q", "answers": "x"}, r": answers is 'x', must be a list"),
    ("copa", COPA | {"question": "reason"}, r": question is 'reason', must be one of: cause, effect"),
]


@pytest.mark.parametrize(("name", "wrong", "message"), BAD, ids=[f"{name}-{i}" for i, (name, _, _) in enumerate(BAD)])
def test_a_bad_object_is_named_with_line_and_key(
    tmp_path: Path, name: str, wrong: dict[str, Any], message: str
) -> None:
    path = write_objects(tmp_path / "bad.jsonl", [CASES[name][0], wrong])
    with pytest.raises(ValueError, match=rf"bad\.jsonl, line 2.*{message}"):
        table(path, name)


def test_bad_json_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.json is not JSON: .*line 2 column"):
        table(write(tmp_path / "a.json", '{"data": [\n oops]}'), "squad")
    with pytest.raises(ValueError, match=r"b\.json holds a JSON NoneType, must be an object with a list at 'data'"):
        table(write(tmp_path / "b.json", '{"version": "1.1"}'), "squad")
    with pytest.raises(ValueError, match=r"c\.json, object 2 is a JSON int, must be an object"):
        table(write_objects(tmp_path / "c.json", [SQUAD, 5], container="data"), "squad")
    with pytest.raises(ValueError, match=r"d\.json holds a JSON dict, must be a list of objects"):
        table(write(tmp_path / "d.json", "{}"), "webqs")
    lines = write_objects(tmp_path / "lines.jsonl", [SQUAD, SQUAD]).rename(tmp_path / "lines.json")
    with pytest.raises(
        ValueError, match=r"lines\.json is not JSON: .*line 2.*; a file with an object on each line must"
    ):
        table(lines, "squad")
    with pytest.raises(ValueError, match=r"e\.jsonl, line 2 is not JSON"):
        table(write(tmp_path / "e.jsonl", json.dumps(WSC) + "\n{"), "wsc")
