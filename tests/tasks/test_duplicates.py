from collections.abc import Callable
from pathlib import Path

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from light_peft.config import ChoiceConfig, TaskConfig
from light_peft.data.table import Table
from light_peft.tasks.duplicates import Duplicates, duplicates
from light_peft.tasks.registry import formulation_of

ROW = st.tuples(st.sampled_from(["a", "b", " a", "ab", ""]), st.sampled_from(["b", "", "b\n", "bb"]), st.integers(0, 2))


def split(rows: list[tuple[str, str, int]]) -> Dataset:
    names = ("first", "second", "label")
    return Dataset.from_dict({name: [row[column] for row in rows] for column, name in enumerate(names)})


def test_a_case_counted_by_hand() -> None:
    train = split([("a cat", "sat", 0), ("a cat", "sat", 1), ("a dog", "ran", 1)])
    rows = [
        ("a cat", "sat", 1),
        (" a dog\t", "ran\n", 0),
        ("a dog", "sat", 1),
        ("A cat", "sat", 1),
        ("a  cat", "sat", 1),
    ]
    assert duplicates(train, split(rows), ["first", "second"]) == Duplicates(num_rows=2, num_conflicting=1)
    assert duplicates(train, split(rows), ["first"]) == Duplicates(num_rows=3, num_conflicting=1)


def test_columns_do_not_run_into_one_another() -> None:
    assert duplicates(split([("ab", "c", 0)]), split([("a", "bc", 0)]), ["first", "second"]).num_rows == 0


def test_texts_without_labels() -> None:
    train, validation = split([("a", "b", 0)]), split([("a", "b", 1), ("a", "b", 0)])
    assert duplicates(train, validation.remove_columns("label"), ["first", "second"]) == Duplicates(2, 0)


def test_candidates_are_compared_as_lists() -> None:
    train = Dataset.from_dict({"premise": ["p", "q"], "choices": [["x", "y z"], ["x"]]})
    validation = Dataset.from_dict(
        {"premise": ["p", "p", "p", "q"], "choices": [["x ", "y z"], ["y z", "x"], ["x"], ["x"]]}
    )
    assert duplicates(train, validation, ["premise", "choices"]) == Duplicates(2, 0)
    assert duplicates(train, validation, ["premise"]) == Duplicates(4, 0)


def test_labels_may_be_lists() -> None:
    train = Dataset.from_dict({"premise": ["p", "q", "p"], "label": [[0], [0, 1], []]})
    validation = Dataset.from_dict({"premise": ["p", "q", "p"], "label": [[0], [0], [1, 2]]})
    assert duplicates(train, validation, ["premise"]) == Duplicates(3, 2)


def test_the_same_question_with_other_candidates_is_another_example() -> None:
    choice = ChoiceConfig(columns=["sol1", "sol2"])
    formulation = formulation_of(TaskConfig(name="tiny", formulation="choice", text=["goal"], choice=choice))

    def examples(*rows: tuple[str, str, str, int]) -> Dataset:
        columns = dict(zip(("goal", "sol1", "sol2", "label"), map(list, zip(*rows, strict=True)), strict=True))
        return formulation.examples(Table("file", columns, range(1, len(rows) + 1)), labelled=True)

    train = examples(("boil", "a pot", "a cat", 0))
    validation = examples(("boil", "a pot", "a hat", 0), ("boil", "a pot", "a cat", 1))
    assert duplicates(train, validation, formulation.inputs()) == Duplicates(1, 1)


def test_what_a_prompt_names_is_part_of_the_input() -> None:
    task = TaskConfig(name="tiny", formulation="generation", text=["question"], prompt="{year}: {question}")
    assert formulation_of(task).inputs() == ["question", "year"]


def test_of_selected_rows_only_these_count() -> None:
    train = split([("a", "b", 0), ("c", "d", 0)])
    assert duplicates(train.select([1]), split([("a", "b", 0)]), ["first", "second"]).num_rows == 0
    assert duplicates(train.select([1, 0]), split([("a", "b", 0)]), ["first", "second"]).num_rows == 1


def test_figures_are_labels_too() -> None:
    train = split([("a", "b", 0)]).remove_columns("label").add_column("label", [2.5])
    validation = split([("a", "b", 0)] * 2).remove_columns("label").add_column("label", [2.5, 3.0])
    assert duplicates(train, validation, ["first", "second"]) == Duplicates(2, 1)


@settings(max_examples=40)
@given(st.lists(ROW, min_size=1, max_size=8), st.lists(ROW, min_size=1, max_size=8))
def test_equal_to_sets_of_stripped_texts(train: list[tuple[str, str, int]], rows: list[tuple[str, str, int]]) -> None:
    seen = {(first.strip(), second.strip()) for first, second, _ in train}
    labelled = {(first.strip(), second.strip(), label) for first, second, label in train}
    found = [(a.strip(), b.strip(), label) for a, b, label in rows if (a.strip(), b.strip()) in seen]
    expected = Duplicates(len(found), sum(row not in labelled for row in found))
    assert duplicates(split(train), split(rows), ["first", "second"]) == expected


@pytest.mark.parametrize(
    ("name", "texts", "label", "expected"),
    [("CoLA", [3], 1, Duplicates(16, 2)), ("STS-B", [7, 8], 9, Duplicates(6, 1)), ("RTE", [1, 2], 3, Duplicates(0, 0))],
)
def test_real_tasks(
    name: str, texts: list[int], label: int, expected: Duplicates, shared: Callable[[str], Path]
) -> None:
    columns, splits = [str(index) for index in texts], []
    for file in ("train.tsv", "dev.tsv"):
        lines = (shared("data") / "glue" / name / file).read_text(encoding="utf-8").split("\n")
        rows = [line.split("\t") for line in lines if line][name != "CoLA" :]
        labels = [float(row[label]) if name == "STS-B" else row[label] for row in rows]
        splits.append(
            Dataset.from_dict({str(index): [row[index] for row in rows] for index in texts} | {"label": labels})
        )
    assert duplicates(*splits, columns) == expected
