import pytest

from light_peft.config import TaskConfig
from light_peft.evaluation.score import primary_name, score_splits
from light_peft.tasks.formulation import Answers

TASK = TaskConfig(
    name="tiny",
    formulation="classification",
    text=["sentence"],
    labels=["even", "odd"],
    metrics=["accuracy", "f1"],
    primary_metric="accuracy",
)


def test_one_split_has_plain_names() -> None:
    metrics = score_splits(TASK, {"validation": Answers([1, 0, 1, 0], [1, 0, 0, 0])})
    assert metrics == pytest.approx({"accuracy": 0.75, "f1": 2 / 3})
    assert primary_name(TASK, ["validation"]) == "accuracy"


def test_two_splits_have_prefixed_names_and_the_first_gives_the_score() -> None:
    splits = {"matched": Answers([1, 0], [1, 0]), "mismatched": Answers([1, 0, 1, 0], [0, 0, 1, 1])}
    metrics = score_splits(TASK, splits)
    expected = {"matched/accuracy": 1.0, "matched/f1": 1.0, "mismatched/accuracy": 0.5, "mismatched/f1": 0.5}
    assert metrics == pytest.approx(expected)
    assert list(metrics) == list(expected)
    assert primary_name(TASK, splits) == "matched/accuracy"
