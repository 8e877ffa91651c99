"""The script that says which answers no model can give through the windows of a file."""

import json
from pathlib import Path

import pytest

from span_cases import encoder_tokenizer, span_task
from squad_windows import report


def test_answers_that_cannot_be_given_are_counted_and_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    context = "in 1066 the Duke of Normandy conquered medieval Europe"
    golds = {"whole": ["Normandy"], "part": ["Norm"], "either": ["Norm", "Duke"], "long": [context], "none": []}
    questions = [
        {
            "id": name,
            "question": "who?",
            "answers": [{"text": text, "answer_start": context.index(text)} for text in texts],
        }
        for name, texts in golds.items()
    ]
    data = {"version": "v2.0", "data": [{"title": "t", "paragraphs": [{"context": context, "qas": questions}]}]}
    file = tmp_path / "dev.json"
    file.write_text(json.dumps(data), encoding="utf-8")
    task = span_task(stride=2, no_answer=True, max_answer_tokens=8)
    task.format = "squad"
    report(file, task, encoder_tokenizer(), max_length=12)
    first, second, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("dev.json: 5 questions, 10 windows of 12 tokens in ")
    assert second.startswith("  at best exact match 50.000, F1 ")
    assert rest[0] == "  2 of 4 questions with an answer cannot be matched exactly"
    assert rest[1] == "    part: 'Normandy' for ['Norm']"
    assert rest[2].startswith("    long: ")
    assert len(rest) == 3
