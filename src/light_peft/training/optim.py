"""Optimizer and schedule of a phase."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import get_scheduler

SCHEDULERS = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share a learning rate and a weight decay."""

    parameters: Sequence[nn.Parameter]
    learning_rate: float
    weight_decay: float = 0.0


def trainable_groups(model: nn.Module, learning_rate: float, weight_decay: float) -> list[ParameterGroup]:
    """Return the trainable parameters: matrices with decay; biases and norms (one axis) without."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trainable if parameter.ndim > 1]
    vectors = [parameter for parameter in trainable if parameter.ndim <= 1]
    groups = [ParameterGroup(matrices, learning_rate, weight_decay), ParameterGroup(vectors, learning_rate)]
    return [group for group in groups if group.parameters]


def build_optimizer(groups: Iterable[ParameterGroup]) -> Optimizer:
    """Return AdamW with the published settings (betas 0.9 and 0.999, eps 1e-8), all in one kernel."""
    return AdamW(
        [
            {"params": list(group.parameters), "lr": group.learning_rate, "weight_decay": group.weight_decay}
            for group in groups
        ],
        betas=(0.9, 0.999),
        eps=1e-8,
        fused=True,
    )


def build_scheduler(optimizer: Optimizer, *, kind: str, warmup: float, steps: int) -> LRScheduler:
    """Return the schedule over `steps` optimizer steps; `warmup` is a count if >= 1, else a fraction."""
    return get_scheduler(SCHEDULERS[kind], optimizer, count_steps(warmup, steps), steps)


def count_steps(asked: float, total: int) -> int:
    """Return a number of steps that was asked for as a count (>= 1) or as a fraction of `total`."""
    return round(asked) if asked >= 1 else round(asked * total)
