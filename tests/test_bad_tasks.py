"""Bad files and settings of every formulation: one message that says so, exit code 2, a record that says `failed`."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from command_line import FAST, command
from miniatures import MINIS
from test_bad_input import assert_failed, assert_refused, ran

WORDS = (*FAST, "data.max_length=48", "task.span.stride=8", "task.generation.max_new_tokens=4", "data.cache_dir=off")
Damage = Callable[[Path], object]
"""Damages a file in place."""


@pytest.fixture(scope="module")
def benchmarks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The official files of some benchmarks."""
    root = tmp_path_factory.mktemp("benchmarks")
    for task in ("boolq", "stsb", "copa", "record", "arc_easy", "piqa", "squad", "webqs", "multirc"):
        MINIS[task].write_official(root)
    return root


def line(number: int, change: Callable[[dict[str, Any]], Any]) -> Damage:
    """Return what changes the object of a line."""

    def damage(path: Path) -> None:
        lines = path.read_text(encoding="utf-8").splitlines()
        lines[number - 1] = json.dumps(change(json.loads(lines[number - 1])))
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    return damage


def replaced(old: str, new: str) -> Damage:
    """Return what replaces the first `old`."""

    def damage(path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return damage


def without(key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda entry: {name: value for name, value in entry.items() if name != key}


def one_candidate(entry: dict[str, Any]) -> dict[str, Any]:
    first = entry["question"]["choices"][:1]
    return entry | {"question": entry["question"] | {"choices": first}, "answerKey": first[0]["label"]}


def no_answer(path: Path) -> None:
    whole = json.loads(path.read_text(encoding="utf-8"))
    whole["data"][1]["paragraphs"][0]["qas"][0]["answers"] = []
    path.write_text(json.dumps(whole), encoding="utf-8")


FILES: list[tuple[str, str, Damage, str]] = [
    ("boolq", "superglue/BoolQ/val.jsonl", line(3, without("passage")), r"val\.jsonl, line 3 has no column passage"),
    (
        *("boolq", "superglue/BoolQ/train.jsonl", line(2, lambda entry: entry | {"label": "maybe"})),
        r"train\.jsonl, line 2: label is 'maybe', must be one of: False, True",
    ),
    (
        *("boolq", "superglue/BoolQ/val.jsonl", line(2, lambda entry: entry | {"label": -1})),
        r"val\.jsonl, line 2: label is -1, a hidden test label, which can be neither trained on nor evaluated",
    ),
    (
        *("boolq", "superglue/BoolQ/train.jsonl", line(2, lambda entry: entry | {"question": 5})),
        r"train\.jsonl, line 2: question is 5, must be a string",
    ),
    ("boolq", "superglue/BoolQ/train.jsonl", replaced('"passage"', "passage"), r"train\.jsonl, line 1 is not JSON"),
    ("boolq", "superglue/BoolQ/val.jsonl", lambda path: path.write_text(""), r"the validation split is empty"),
    ("boolq", "superglue/BoolQ/val.jsonl", Path.unlink, r"task boolq: no validation split, looked at .*val\.jsonl"),
    (
        "stsb",
        "glue/STS-B/dev.tsv",
        replaced("\t0.000\n", "\tzero\n"),
        r"dev\.tsv, line \d+: label is 'zero', must be a",
    ),
    (
        *("multirc", "superglue/MultiRC/val.jsonl", line(2, lambda entry: entry | {"passage": {"text": "x"}})),
        r"val\.jsonl, line 2 has no key passage\.questions, its keys are: text",
    ),
    ("copa", "superglue/COPA/train.jsonl", line(4, without("choice2")), r"train\.jsonl, line 4 has no key choice2"),
    (
        *("copa", "superglue/COPA/val.jsonl", line(4, lambda entry: entry | {"label": 2})),
        r"val\.jsonl, line 4: label is 2, must be a number from 0 to 1, or one of: choice1, choice2",
    ),
    (
        *("copa", "superglue/COPA/train.jsonl", line(1, lambda entry: entry | {"label": -1})),
        r"train\.jsonl, line 1: label is -1, a hidden test label",
    ),
    (
        *("arc_easy", "qa/arc_easy/ARC-Easy-Dev.jsonl", line(5, one_candidate)),
        r"Dev\.jsonl, line 5: choices holds 1 candidates, must be 2 or more",
    ),
    (
        *("arc_easy", "qa/arc_easy/ARC-Easy-Train.jsonl", line(5, lambda entry: entry | {"answerKey": "Z"})),
        r"Train\.jsonl, line 5: answerKey is 'Z', must be one of the candidates' labels",
    ),
    (
        *("piqa", "qa/piqa/valid-labels.lst", lambda path: path.write_text("0\n1\n")),
        r"valid-labels\.lst has 2 labels, but .*valid\.jsonl has 12 rows",
    ),
    ("piqa", "qa/piqa/valid-labels.lst", Path.unlink, r"may lie beside it in valid-labels\.lst, which is not there"),
    (
        *("record", "superglue/ReCoRD/train.jsonl", line(6, without("qas"))),
        r"train\.jsonl, line 6 has no key qas, its keys are: source, idx, passage",
    ),
    (
        *("squad", "squad/dev-v1.1.json", replaced('"answer_start": 2', '"answer_start": 3')),
        r"dev-v1\.1\.json, object 1: paragraphs\[0\]\.qas\[0\]\.answers\[0\]\.answer_start is 3\d, must be where",
    ),
    ("squad", "squad/train-v1.1.json", no_answer, r"object 2 \(id 'q1'\): there is no answer, .*SQuAD 2\.0 is"),
    ("squad", "squad/dev-v1.1.json", replaced('"data"', '"dada"'), r"must be an object with a list at 'data'"),
    (
        *("webqs", "qa/webqs/webquestions.examples.test.json", replaced("(list (", "(lisp (")),
        r"test\.json, object 1: targetValue is .*, must be of the form",
    ),
    (
        *("webqs", "qa/webqs/webquestions.examples.train.json", replaced("}, {", "} {")),
        r"train\.json is not JSON: .* line 1 column",
    ),
]


@pytest.mark.parametrize(
    ("task", "name", "damage", "expected"), FILES, ids=[f"{task}-{number}" for number, (task, *_) in enumerate(FILES)]
)
def test_a_bad_file(benchmarks: Path, tmp_path: Path, task: str, name: str, damage: Damage, expected: str) -> None:
    root = Path(shutil.copytree(benchmarks, tmp_path / "data"))
    damage(root / name)
    model = "tiny_llama" if task == "webqs" else "tiny_bert"
    outcome = command(tmp_path, *WORDS, f"task={task}", f"model={model}", f"data.dir={root}")
    assert_refused(outcome, expected)
    assert ran(assert_failed(outcome.run_dirs()[0], expected)) == ["load"]


SETTINGS: list[tuple[list[str], str]] = [
    (["task=webqs"], r"task=webqs: it needs a decoder, and this model is an encoder; take model="),
    (["task=copa", "task.choice.by=likelihood"], r"task=copa: it needs a decoder, .*; take task\.choice\.by=head"),
    (["task=boolq", "task.text=[question,passage,idx]"], r"task\.text=\['question', 'passage', 'idx'\]: a classif"),
    (["task=boolq", "task.text=[]"], r"task\.text=\[\]: a classification task has one or two columns"),
    (["task=squad", "task.text=[question]"], r"task\.text=\['question'\]: a span task has two columns"),
    (["task=piqa", "task.text=[]"], r"task\.text=\[\]: a choice task has one column or more"),
    (["task=piqa", 'task.prompt="Question: {gaol}"'], r"has no column gaol, its columns are: goal, sol1, sol2"),
    (["task=piqa", "task.prompt=Question"], r"task\.prompt='Question': it names no column"),
    (["task=piqa", "task.choice.columns=[sol1]"], r"sol1 is '.*', must be a list of strings"),
    (["task=piqa", "task.choice.columns=[]"], r"task\.choice\.columns=\[\]: name the column"),
    (["task=squad", "task.format=squadd"], r"task\.format is 'squadd', must be one of: .*did you mean squad\?"),
    (["task=squad", "task.metrics=[f1]", "task.primary_metric=f1"], r"task\.metrics has 'f1', which compares class"),
    (
        ["task=boolq", "task.metrics=[question_match]", "task.primary_metric=question_match"],
        r"task\.metrics has 'question_match', which scores groups of examples; name their column: task\.group",
    ),
    (["task=piqa", "task.metrics=[acuracy]", "task.primary_metric=acuracy"], r"'acuracy', .*did you mean accuracy\?"),
    (["task=piqa", "task.submission.format=jsonlines"], r"task\.submission\.format=jsonlines: must be one of .*jsonl"),
    (
        ["task=squad", "task.submission.format=lst", "save.predictions=true"],
        r"and the answers to task squad are texts; for these there are: superglue, squad, csv, jsonl",
    ),
    (
        ["task=boolq", "task.submission.labels=[a]", "save.predictions=true"],
        r"task\.submission\.labels=\['a'\]: must be one for each of task\.labels=\['False', 'True'\]",
    ),
    (["task=squad", "task.span.stride=45"], r"data\.max_length=48: task\.span\.stride=45 and 3 marks leave 0 tokens"),
    (["task=squad", "data.max_length=8"], r"data\.max_length=8: task\.span\.stride=8 .* lower task\.span\.stride"),
    (["task=squad", "task.span.stride=-1"], r"task\.span\.stride=-1: must not be negative"),
    (["task=webqs", "model=tiny_llama", "task.generation.max_new_tokens=48"], r"leaves no room for a prompt within"),
    (["task=boolq", "task.formulation=clasification"], r"task\.formulation=clasification: must be one of "),
    (["task=boolq", "task.group=grp"], r"has no column grp, its columns are"),
    (["task=copa", "task.label=lable"], r"has no column lable, its columns are: context, choice1, choice2"),
    (["task=copa", "task.choise.by=head"], r"task\.choise\.by: unknown key"),
]


@pytest.mark.parametrize(("words", "expected"), SETTINGS, ids=[" ".join(words) for words, _ in SETTINGS])
def test_a_setting_that_does_not_fit(benchmarks: Path, tmp_path: Path, words: list[str], expected: str) -> None:
    outcome = command(tmp_path, *WORDS, f"data.dir={benchmarks}", *words)
    assert_refused(outcome, expected)
    for folder in outcome.run_dirs():
        assert set(ran(assert_failed(folder, expected))) <= {"load"}
