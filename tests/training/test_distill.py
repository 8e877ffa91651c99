"""The distillation term against its formula."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from light_peft.training.distill import TEACHER, DistilledLoss


def test_the_divergence_is_the_published_one() -> None:
    student, teacher = torch.tensor([[1.0, -1.0], [0.0, 2.0]]), torch.tensor([[2.0, 0.0], [1.0, -1.0]])
    p, q = (teacher / 2).softmax(dim=1), (student / 2).softmax(dim=1)
    expected = 4 * (p * (p.log() - q.log())).sum(dim=1).mean()
    torch.testing.assert_close(DistilledLoss(1.0, 2.0).distance(student, teacher), expected)
    assert float(DistilledLoss(1.0, 2.0).distance(student, student + 3.0)) == pytest.approx(0.0, abs=1e-6)


def test_regression_takes_the_squared_error() -> None:
    distance = DistilledLoss(1.0, 2.0).distance(torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0], [1.0]]))
    assert float(distance) == pytest.approx(2.5)


def test_the_model_does_not_see_the_teacher_and_the_terms_add_up() -> None:
    class Model(nn.Module):
        def forward(self, **inputs: torch.Tensor) -> Any:
            assert set(inputs) == {"input_ids"}
            return SimpleNamespace(loss=torch.tensor(0.5), logits=torch.tensor([[1.0]]))

    batch = {"input_ids": torch.zeros(1, 1), TEACHER: torch.tensor([[3.0]])}
    assert float(DistilledLoss(0.25, 2.0)(Model(), batch)) == pytest.approx(0.5 + 0.25 * 4.0)
    assert TEACHER in batch, "the batch is left as it was"
