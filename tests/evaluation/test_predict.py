from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from light_peft.config import RuntimeConfig, TaskConfig
from light_peft.evaluation.predict import predict, primary_name, score, score_splits
from light_peft.meter import PhaseCost
from light_peft.runtime import start_runtime

Batch = dict[str, torch.Tensor]


class Echo(nn.Module):
    """Says class 1 where the first token is odd, in bf16 as under autocast; wants no labels."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.modes: list[bool] = []

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
        self.modes.append(self.training)
        assert not torch.is_grad_enabled()
        first = input_ids[:, 0]
        logits = torch.stack([first.float(), first + (first % 2) * 2 - 1.0], dim=1).to(torch.bfloat16)
        return SimpleNamespace(logits=self.dropout(logits))


@pytest.fixture
def accelerator() -> Accelerator:
    return start_runtime(RuntimeConfig(device="cpu", precision="fp32"), 0)


def loader(numbers: list[int], labels: list[int], size: int = 3) -> list[Batch]:
    ids = torch.tensor([[number, 0] for number in numbers])
    mask = torch.tensor([[1, int(number > 4)] for number in numbers])
    columns = {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor(labels)}
    return [{name: value[at : at + size] for name, value in columns.items()} for at in range(0, len(numbers), size)]


def task(**values: object) -> TaskConfig:
    return TaskConfig(
        **{  # type: ignore[arg-type]
            "name": "tiny",
            "formulation": "classification",
            "text": ["sentence"],
            "labels": ["even", "odd"],
            "metrics": ["accuracy", "f1"],
            "primary_metric": "accuracy",
            **values,
        }
    )


def test_numbered_examples_come_back_in_order(accelerator: Accelerator) -> None:
    numbers, rows = [5, 2, 9, 4, 7], [3, 0, 4, 2, 1]
    batches = loader(numbers, numbers)
    for index, batch in enumerate(batches):
        batch["row"] = torch.tensor(rows[3 * index : 3 * index + 3])
    _, labels = predict(Echo(), batches, accelerator, cost=PhaseCost())
    assert labels.tolist() == [2, 7, 4, 5, 9]


def test_outputs_are_fp32_and_in_order(accelerator: Accelerator) -> None:
    numbers, cost = [5, 2, 9, 4, 7, 0, 3], PhaseCost()
    outputs, labels = predict(Echo(), loader(numbers, list(range(7))), accelerator, cost=cost)
    assert outputs.dtype == np.float32
    assert outputs.shape == (7, 2)
    assert outputs[:, 0].tolist() == numbers
    assert labels.tolist() == list(range(7))
    assert (cost.steps, cost.examples, cost.tokens) == (3, 7, 7 + 3)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_as_before_and_dropout_is_off(accelerator: Accelerator, training: bool) -> None:
    model = Echo().train(training)
    predict(model, loader([1, 2, 3, 4], [0] * 4), accelerator, cost=PhaseCost())
    assert model.training == model.dropout.training == training
    assert model.modes == [False, False]


def test_classes_are_the_largest_output() -> None:
    outputs = np.array([[0.1, 0.2], [3.0, -1.0], [-5.0, -4.0], [0.0, 1.0]])
    assert score(task(), outputs, np.array([1, 0, 1, 0])) == pytest.approx({"accuracy": 0.75, "f1": 0.8})


def test_figures_are_the_only_output() -> None:
    regression = task(formulation="regression", labels=[], metrics=["pearson"], primary_metric="pearson")
    assert score(regression, np.array([[1.0], [2.0], [3.0]]), np.array([2.0, 4.0, 6.0])) == pytest.approx(
        {"pearson": 1.0}
    )


def test_one_split_has_plain_names(accelerator: Accelerator) -> None:
    splits = {"validation": loader([1, 2, 3, 4], [1, 0, 0, 0])}
    metrics = score_splits(task(), Echo(), splits, accelerator, cost=PhaseCost())
    assert metrics == pytest.approx({"accuracy": 0.75, "f1": 2 / 3})
    assert primary_name(task(), splits) == "accuracy"


def test_two_splits_have_prefixed_names_and_the_first_gives_the_score(accelerator: Accelerator) -> None:
    splits = {"matched": loader([1, 2], [1, 0]), "mismatched": loader([1, 2, 3, 4], [0, 0, 1, 1])}
    cost = PhaseCost()
    metrics = score_splits(task(), Echo(), splits, accelerator, cost=cost)
    expected = {"matched/accuracy": 1.0, "matched/f1": 1.0, "mismatched/accuracy": 0.5, "mismatched/f1": 0.5}
    assert metrics == pytest.approx(expected)
    assert list(metrics) == list(expected)
    assert primary_name(task(), splits) == "matched/accuracy"
    assert cost.examples == 6


def test_outputs_that_are_no_numbers_have_no_score() -> None:
    with pytest.raises(ValueError, match="not finite"):
        score(task(), np.array([[np.nan, np.nan], [0.0, 1.0]]), np.array([0, 1]))
