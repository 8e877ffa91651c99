import numpy as np
import pytest
from datasets import Dataset

from light_peft.config import TaskConfig
from light_peft.data.table import Table
from light_peft.tasks.classification import Classification, Regression


def task(**values: object) -> TaskConfig:
    settings: dict[str, object] = {
        "name": "tiny",
        "formulation": "classification",
        "text": ["sentence"],
        "labels": ["even", "odd"],
        "metrics": ["accuracy"],
        "primary_metric": "accuracy",
    }
    return TaskConfig(**(settings | values))  # type: ignore[arg-type]


def test_classes_are_the_largest_output() -> None:
    outputs = np.array([[0.1, 0.2], [3.0, -1.0], [-5.0, -4.0], [0.0, 1.0]])
    examples = Dataset.from_dict({"sentence": ["x"] * 4, "label": [1, 0, 1, 0]})
    answers = Classification(task()).answers(outputs, examples, examples, {})
    assert answers.predictions == [1, 0, 1, 1]
    assert answers.references == [1, 0, 1, 0]
    hidden = Classification(task()).answers(outputs, examples, examples.remove_columns("label"), {})
    assert hidden.references is None


def test_figures_are_the_only_output() -> None:
    examples = Dataset.from_dict({"sentence": ["x"] * 2, "label": [2.0, 4.0]})
    answers = Regression(task(formulation="regression", labels=[])).answers(
        np.array([[1.0], [2.5]]), examples, examples, {}
    )
    assert answers.predictions == [1.0, 2.5]
    assert answers.references == [2.0, 4.0]


def test_examples_keep_what_identifies_and_groups_them() -> None:
    columns = {"sentence": ["a", "b"], "label": ["odd", "0"], "id": [7, 9], "question": ["x", "x"]}
    formulation = Classification(task(idx="id", group="question"))
    assert formulation.columns(labelled=True) == ["sentence", "id", "question", "label"]
    assert formulation.columns(labelled=False) == ["sentence", "id", "question"]
    examples = formulation.examples(Table("here", columns, [1, 2]), labelled=True)
    assert examples.to_dict() == {"sentence": ["a", "b"], "label": [1, 0], "idx": ["7", "9"], "group": ["x", "x"]}
    assert "label" not in formulation.examples(Table("here", columns, [1, 2]), labelled=False).column_names


def test_a_text_that_is_none_is_named() -> None:
    table = Table("here", {"sentence": ["a", None], "label": ["odd", "even"]}, [3, 5])
    with pytest.raises(ValueError, match=r"^here, line 5: sentence is None, must be a string$"):
        Classification(task()).examples(table, labelled=True)
