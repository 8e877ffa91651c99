import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from light_peft.config import SpanConfig, SubmissionConfig, TaskConfig
from light_peft.evaluation.submission import FORMS, check_form, check_submission, write_predictions
from light_peft.tasks.formulation import Answers


def task(
    form: str, *, labels: tuple[str, ...] = (), spelled: tuple[str, ...] = (), no_answer: bool = False, **names: Any
) -> TaskConfig:
    return TaskConfig(
        name="tiny",
        idx="idx",
        labels=list(labels),
        span=SpanConfig(no_answer=no_answer),
        submission=SubmissionConfig(format=form, labels=list(spelled), **names),
    )


def written(folder: Path, asked: TaskConfig, predictions: list[Any], ids: list[str], **extras: list[float]) -> Path:
    return write_predictions(folder, asked, "test", Answers(predictions, extras=extras), ids)


@pytest.mark.parametrize(
    ("asked", "predictions", "ids", "name", "text"),
    [
        (task("glue", labels=("entailment", "not_entailment"), file="RTE"), [1, 0], ["0", "1"], "RTE.tsv",
         "index\tprediction\n0\tnot_entailment\n1\tentailment\n"),
        (task("glue", labels=("unacceptable", "acceptable"), file="CoLA", files={"other": "X"}, spelled=("0", "1")),
         [1, 0], ["0", "1"], "CoLA.tsv", "index\tprediction\n0\t1\n1\t0\n"),
        (task("glue", file="STS-B"), [-0.2, 5.3, 2.34567, 3.0], ["0", "1", "2", "3"], "STS-B.tsv",
         "index\tprediction\n0\t0.000\n1\t5.000\n2\t2.346\n3\t3.000\n"),
        (task("glue", labels=("a", "b"), file="MNLI", files={"test": "MNLI-m"}), [0], ["7"], "MNLI-m.tsv",
         "index\tprediction\n7\ta\n"),
        (task("superglue", labels=("False", "True"), spelled=("false", "true"), file="BoolQ"), [1, 0], ["0", "1"],
         "BoolQ.jsonl", '{"idx": 0, "label": "true"}\n{"idx": 1, "label": "false"}\n'),
        (task("superglue", file="COPA"), [1, 0], ["5", "6"], "COPA.jsonl",
         '{"idx": 5, "label": 1}\n{"idx": 6, "label": 0}\n'),
        (task("superglue", file="ReCoRD"), ["Bhutto"], ["12"], "ReCoRD.jsonl", '{"idx": 12, "label": "Bhutto"}\n'),
        (task("lst"), [0, 1, 1], ["0", "1", "2"], "predictions.lst", "0\n1\n1\n"),
        (task("csv"), [0, 3], ["Mercury_417466", "7-980"], "predictions.csv", "Mercury_417466,A\n7-980,D\n"),
        (task("csv"), ["2", "B"], ["q1", "q2"], "predictions.csv", "q1,2\nq2,B\n"),
        (task("jsonl", labels=("no", "yes")), [1], ["a"], "predictions.jsonl", '{"id": "a", "prediction": "yes"}\n'),
        (task("jsonl"), [0.5], ["a"], "predictions.jsonl", '{"id": "a", "prediction": 0.5}\n'),
    ],
)  # fmt: skip
def test_golden_files(
    asked: TaskConfig, predictions: list[Any], ids: list[str], name: str, text: str, tmp_path: Path
) -> None:
    path = written(tmp_path, asked, predictions, ids)
    assert path == tmp_path / "test" / name
    assert path.read_bytes() == text.encode()
    assert [file.name for file in path.parent.iterdir()] == [name], "nothing else is left"


def test_multirc_nests_what_its_ids_say(tmp_path: Path) -> None:
    path = written(tmp_path, task("multirc", file="MultiRC"), [1, 0, 1, 0], ["3-0-0", "3-0-1", "3-1-0", "4-2-9"])
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {
            "idx": 3,
            "passage": {
                "questions": [
                    {"idx": 0, "answers": [{"idx": 0, "label": 1}, {"idx": 1, "label": 0}]},
                    {"idx": 1, "answers": [{"idx": 0, "label": 1}]},
                ]
            },
        },
        {"idx": 4, "passage": {"questions": [{"idx": 2, "answers": [{"idx": 9, "label": 0}]}]}},
    ]


def test_squad_gives_texts_and_the_probability_of_none(tmp_path: Path) -> None:
    answers, odds = ["1066, “Hastings”\n", ""], [0.25, 1.0]
    asked = task("squad", no_answer=True)
    path = written(tmp_path, asked, answers, ["56a", "56b"], no_answer_probability=odds)
    assert json.loads(path.read_text()) == {"56a": answers[0], "56b": ""}
    beside = path.with_name("predictions_na_prob.json")
    assert json.loads(beside.read_text()) == {"56a": 0.25, "56b": 1.0}
    plain = written(tmp_path / "v1", task("squad"), answers, ["56a", "56b"])
    assert [file.name for file in plain.parent.iterdir()] == ["predictions.json"]


def test_ids_with_commas_and_quotes_come_back(tmp_path: Path) -> None:
    ids = ["a,b", 'say "no"', "AKDE&ED_2008_4_3"]
    path = written(tmp_path, task("csv"), [0, 1, 2], ids)
    with path.open(newline="") as file:
        assert list(csv.reader(file)) == [[ids[0], "A"], [ids[1], "B"], [ids[2], "C"]]


def test_real_multirc_comes_back(shared: Any, tmp_path: Path) -> None:
    lines = (shared("data") / "superglue/MultiRC/val.jsonl").read_text(encoding="utf-8").splitlines()
    passages = [json.loads(line) for line in lines]
    gold = {
        f"{passage['idx']}-{question['idx']}-{answer['idx']}": answer["label"]
        for passage in passages
        for question in passage["passage"]["questions"]
        for answer in question["answers"]
    }
    path = written(tmp_path, task("multirc"), list(gold.values()), list(gold))
    for ours, theirs in zip(map(json.loads, path.read_text().splitlines()), passages, strict=True):
        questions = [
            {"idx": question["idx"], "answers": [{"idx": a["idx"], "label": a["label"]} for a in question["answers"]]}
            for question in theirs["passage"]["questions"]
        ]
        assert ours == {"idx": theirs["idx"], "passage": {"questions": questions}}


@pytest.mark.parametrize(
    ("asked", "predictions", "ids", "message"),
    [
        (task("glu"), [0], ["0"], r"task\.submission\.format=glu: must be one of glue, .*did you mean glue\?"),
        (task("glue"), ["text"], ["0"], "=glue takes class numbers or figures, task tiny predicts 'text'"),
        (task("glue"), [math.nan], ["0"], "task tiny predicts nan, must be a finite number"),
        (task("glue", spelled=("only",)), [1], ["0"], r"task\.submission\.labels=\['only'\] has no name for 1"),
        (task("superglue"), [0], ["Q7"], r"=superglue takes whole numbers for ids, task\.idx=idx has 'Q7' in test"),
        (task("multirc"), [0], ["1-2"], "takes PASSAGE-QUESTION-ANSWER, whole numbers, for ids, .* has '1-2' in test"),
        (task("glue"), [0], ["1-2"], r"=glue takes whole numbers for ids, task\.idx=idx has '1-2' in test"),
        (task("multirc"), ["x"], ["1-2-3"], "=multirc takes class numbers, task tiny predicts 'x'"),
        (task("squad"), [3], ["a"], "=squad takes texts, task tiny predicts 3"),
        (task("lst"), [0.5], ["0"], "=lst takes numbers of candidates, task tiny predicts 0.5"),
        (task("jsonl"), [0, 1, 1], ["a", "b", "b"], "task.idx=idx: 'b' identifies more than one example of test"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_and_nothing_is_left(
    asked: TaskConfig, predictions: list[Any], ids: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        written(tmp_path, asked, predictions, ids)
    assert list(tmp_path.rglob("*")) == []


def test_every_form_is_known_by_its_name() -> None:
    for name in FORMS:
        check_form(name)
    with pytest.raises(ValueError, match="must be one of"):
        check_form("tsv")


@pytest.mark.parametrize(("form", "line"), [("csv", "x,1\n"), ("jsonl", '{"id": "x", "prediction": "1"}\n')])
def test_an_example_may_say_how_its_answer_is_written(tmp_path: Path, form: str, line: str) -> None:
    path = write_predictions(tmp_path, task(form), "test", Answers([0], written=["1"]), ["x"])
    assert path.read_text() == line


@pytest.mark.parametrize(
    ("form", "formulation", "kind"),
    [("glue", "span", "texts"), ("multirc", "regression", "figures"), ("squad", "choice", "class numbers"),
     ("lst", "generation", "texts")],
)  # fmt: skip
def test_a_form_that_cannot_hold_the_answers_is_refused_before_there_are_any(
    form: str, formulation: str, kind: str
) -> None:
    asked = replace(task(form), formulation=formulation)
    with pytest.raises(
        ValueError, match=rf"^task.submission.format={form} takes .*, and .* task tiny are {kind}; .*jsonl$"
    ):
        check_submission(asked)


def test_a_form_has_one_label_for_each_class() -> None:
    check_submission(replace(task("glue", labels=("no", "yes"), spelled=("0", "1")), formulation="classification"))
    with pytest.raises(ValueError, match=r"^task.submission.labels=\['0'\]: must be one for each of task.labels="):
        check_submission(replace(task("glue", labels=("no", "yes"), spelled=("0",)), formulation="classification"))
