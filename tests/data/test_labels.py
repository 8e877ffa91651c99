import dataclasses
from typing import Any

import pytest
from task_files import tiny_task

from light_peft.data.labels import parse_labels
from light_peft.data.table import Table

TASK = tiny_task()
REGRESSION = dataclasses.replace(TASK, formulation="regression", labels=[])


def table(*labels: Any) -> Table:
    return Table("a.tsv", {"sentence": ["x"] * len(labels), "label": list(labels)}, range(2, len(labels) + 2))


def test_names_and_numbers_of_any_kind() -> None:
    assert parse_labels(table("no", "yes", "0", "1", 0, 1), TASK) == [0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize("value", ["maybe", "2", 2, "-2", 1.0, "1.0", True, None, "", "-", "Yes"])
def test_a_foreign_label_is_named_with_its_line(value: object) -> None:
    with pytest.raises(ValueError, match=r"a\.tsv, line 3: label is .*, must be one of: no, yes, or a number from 0"):
        parse_labels(table("no", value), TASK)


@pytest.mark.parametrize("value", ["-1", -1])
def test_a_hidden_label_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"a\.tsv, line 2: label is -1, a hidden test label"):
        parse_labels(table(value), TASK)


def test_figures() -> None:
    assert parse_labels(table("5.000", "0", 2, 3.25, "-1"), REGRESSION) == [5.0, 0.0, 2.0, 3.25, -1.0]


@pytest.mark.parametrize("value", ["nan", "inf", "high", "", None, True, float("nan")])
def test_a_figure_must_be_finite(value: object) -> None:
    with pytest.raises(ValueError, match=r"a\.tsv, line 3: label is .*, must be a finite number"):
        parse_labels(table("1.5", value), REGRESSION)
