"""Distillation from outputs that were computed once, before the cut; no second model is kept.

Shape suffixes: B batch, C classes.
"""

from dataclasses import dataclass

import torch
from torch import nn

from light_peft.data.batches import Batch

TEACHER = "teacher"
"""Name of the column of a batch that holds the teacher's outputs [B, C]."""


@dataclass(frozen=True)
class DistilledLoss:
    """Task loss + weight * distance to the teacher's outputs.

    Classification: T^2 KL(teacher / T || student / T), mean over the batch (Hinton et al., Distilling the
    Knowledge in a Neural Network, arXiv 1503.02531, section 2); regression: the mean squared error.
    """

    weight: float
    temperature: float

    def __call__(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the loss of `model` on a batch with the column `TEACHER`."""
        inputs = dict(batch)
        teacher_BC = inputs.pop(TEACHER).float()
        output = model(**inputs)
        loss: torch.Tensor = output.loss
        return loss + self.weight * self.distance(output.logits.float(), teacher_BC)

    def distance(self, student_BC: torch.Tensor, teacher_BC: torch.Tensor) -> torch.Tensor:
        """Return how far the student is from the teacher, a scalar."""
        if student_BC.shape[1] == 1:
            return nn.functional.mse_loss(student_BC, teacher_BC)
        student_BC, teacher_BC = student_BC / self.temperature, teacher_BC / self.temperature
        logs = (student_BC.log_softmax(dim=1), teacher_BC.log_softmax(dim=1))
        return nn.functional.kl_div(*logs, reduction="batchmean", log_target=True) * self.temperature**2
