from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from light_peft.config import RuntimeConfig, TaskConfig
from light_peft.evaluation.predict import predict
from light_peft.meter import PhaseCost
from light_peft.runtime import start_runtime
from light_peft.tasks.classification import Classification

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


def ask(model: nn.Module, batches: list[Batch], accelerator: Accelerator, cost: PhaseCost | None = None) -> np.ndarray:
    return predict(Classification(task()), model, batches, accelerator, cost=cost or PhaseCost())


def test_numbered_features_come_back_in_order(accelerator: Accelerator) -> None:
    numbers, rows = [5, 2, 9, 4, 7], [3, 0, 4, 2, 1]
    batches = loader(numbers, numbers)
    for index, batch in enumerate(batches):
        batch["row"] = torch.tensor(rows[3 * index : 3 * index + 3])
    assert ask(Echo(), batches, accelerator)[:, 0].tolist() == [2, 7, 4, 5, 9]


def test_outputs_are_fp32_and_in_order(accelerator: Accelerator) -> None:
    numbers, cost = [5, 2, 9, 4, 7, 0, 3], PhaseCost()
    outputs = ask(Echo(), loader(numbers, list(range(7))), accelerator, cost)
    assert outputs.dtype == np.float32
    assert outputs.shape == (7, 2)
    assert outputs[:, 0].tolist() == numbers
    assert (cost.steps, cost.examples, cost.tokens) == (3, 7, 7 + 3)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_as_before_and_dropout_is_off(accelerator: Accelerator, training: bool) -> None:
    model = Echo().train(training)
    ask(model, loader([1, 2, 3, 4], [0] * 4), accelerator)
    assert model.training == model.dropout.training == training
    assert model.modes == [False, False]


def test_outputs_of_unequal_length_are_filled(accelerator: Accelerator) -> None:
    class Tokens(Classification):
        fill = -7.0

        def outputs(self, model: nn.Module, batch: Batch) -> torch.Tensor:
            return batch["input_ids"].float()

    batches = [
        {"input_ids": torch.full((2, length), length), "attention_mask": torch.ones(2, length, dtype=torch.long)}
        for length in (1, 3, 2)
    ]
    found = predict(Tokens(task()), Echo(), batches, accelerator, cost=PhaseCost())
    assert found.tolist() == [[1, -7, -7]] * 2 + [[3, 3, 3]] * 2 + [[2, 2, -7]] * 2


def test_outputs_that_are_no_numbers_are_refused(accelerator: Accelerator) -> None:
    class Broken(Echo):
        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
            return SimpleNamespace(logits=super().forward(input_ids, attention_mask).logits / 0)

    with pytest.raises(ValueError, match="2 outputs of the model are not finite"):
        ask(Broken(), loader([1, 3], [0, 1]), accelerator)
