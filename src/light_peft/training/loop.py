"""The training loop: estimation and training both run through it."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
from accelerate import Accelerator
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from light_peft.data.batches import Batch
from light_peft.meter import PhaseCost, count_step
from light_peft.tasks.formulation import model_loss

CHECK_EVERY = 10
"""Optimizer steps between two looks at the loss, each of which waits for the device."""

Loss = Callable[[nn.Module, Batch], torch.Tensor]
"""Runs the model on a batch and returns its loss, a scalar with a gradient."""
OnProgress = Callable[[int, float], None]
"""Receives the optimizer steps done and the mean loss since the last call."""


class Observer(Protocol):
    """Something that watches a phase; steps count from 0."""

    def after_backward(self, step: int) -> None:
        """See the gradients of a whole step, unscaled and not yet clipped."""

    def after_step(self, step: int) -> None:
        """See the model after the optimizer has moved it."""


@dataclass
class Phase:
    """What one pass through the loop shall do.

    Attributes:
        name: estimate or train.
        steps: Optimizer steps.
        accumulation: Forward passes per optimizer step.
        max_grad_norm: Clip over all trainables; 0 turns it off.
        loss: What is minimised; the model's own loss unless something else is wanted.
        penalty: Added to the loss, as a function of the current parameters.
        is_done: Asked after every step; the phase ends early where it says so.
    """

    name: str
    steps: int
    optimizer: Optimizer
    scheduler: LRScheduler
    accumulation: int = 1
    max_grad_norm: float = 1.0
    loss: Loss = model_loss
    penalty: Callable[[], torch.Tensor] | None = None
    is_done: Callable[[], bool] = lambda: False


def run_phase(
    phase: Phase,
    model: nn.Module,
    loader: Iterable[Batch],
    accelerator: Accelerator,
    *,
    cost: PhaseCost,
    observers: Sequence[Observer] = (),
    on_progress: OnProgress = lambda step, loss: None,
) -> None:
    """Train `model` for `phase.steps` optimizer steps at most, passing over `loader` as often as needed.

    Raises:
        ValueError: If the loss is not finite; phase and step are named.
    """
    parameters = [p for group in phase.optimizer.param_groups for p in group["params"]]
    watch = LossWatch(phase.name, accelerator.device)
    tokens = torch.zeros((), dtype=torch.long, device=accelerator.device)
    batches = endless(loader)
    model.train()
    for step in range(phase.steps):
        micro_batches = [next(batches) for _ in range(phase.accumulation)]
        with count_step(cost, [shape_of(batch) for batch in micro_batches]):
            for index, batch in enumerate(micro_batches):
                last = index == len(micro_batches) - 1
                with nullcontext() if last else accelerator.no_sync(model):
                    watch.add(_backward(phase, model, batch, accelerator), step)
                tokens += batch["attention_mask"].sum()
        if phase.max_grad_norm or observers:
            accelerator.unscale_gradients(phase.optimizer)
        for observer in observers:
            observer.after_backward(step)
        if phase.max_grad_norm:
            nn.utils.clip_grad_norm_(parameters, phase.max_grad_norm)
        phase.optimizer.step()
        phase.scheduler.step()
        phase.optimizer.zero_grad()
        if (step + 1) % CHECK_EVERY == 0 or step + 1 == phase.steps:
            on_progress(step + 1, watch.mean(step + 1))
        for observer in observers:
            observer.after_step(step)
        if phase.is_done():
            break
    cost.tokens = (cost.tokens or 0) + int(tokens)


def shape_of(batch: Batch) -> tuple[int, int]:
    """Return the rows of a batch and their padded length."""
    rows, length = batch["input_ids"].shape
    return rows, length


def endless(loader: Iterable[Batch]) -> Iterator[Batch]:
    """Yield the batches of `loader` over and over; each pass is a new epoch of the loader."""
    while True:
        yield from loader


def _backward(phase: Phase, model: nn.Module, batch: Batch, accelerator: Accelerator) -> torch.Tensor:
    """Add this micro-batch's share of the gradient and return its share of the loss, without a gradient."""
    loss = phase.loss(model, batch)
    if phase.penalty is not None:
        loss = loss + phase.penalty()
    loss = loss / phase.accumulation
    accelerator.backward(loss)
    return loss.detach()


class Every:
    """Calls an action with the number of steps done, at every interval but not at the end of the phase."""

    def __init__(self, interval: int, steps: int, action: Callable[[int], None]) -> None:
        """Watch a phase of `steps` optimizer steps."""
        self._interval, self._steps, self._action = interval, steps, action

    def after_backward(self, step: int) -> None:
        """Look at nothing."""

    def after_step(self, step: int) -> None:
        """Act, if it is time."""
        done = step + 1
        if done % self._interval == 0 and done < self._steps:
            self._action(done)


class LossWatch:
    """Sums the loss on the device and finds the first step at which it was not finite."""

    def __init__(self, phase: str, device: torch.device) -> None:
        self._phase = phase
        self._sum = torch.zeros((), device=device)
        self._first_bad = torch.full((), math.inf, device=device)
        self._told = 0

    def add(self, loss: torch.Tensor, step: int) -> None:
        """Take a loss of step `step`, without waiting for the device."""
        self._sum += loss.float()
        bad = torch.where(torch.isfinite(loss), math.inf, float(step))
        self._first_bad = torch.minimum(self._first_bad, bad)

    def mean(self, steps_done: int) -> float:
        """Return the mean loss of the steps since the last call.

        Raises:
            ValueError: If a loss was not finite.
        """
        if math.isfinite(first_bad := float(self._first_bad)):
            raise ValueError(
                f"{self._phase}: the loss is not finite at step {int(first_bad) + 1} of this phase; lower "
                f"{self._phase}.learning_rate, add {self._phase}.warmup, or take runtime.precision=fp32"
            )
        mean = float(self._sum) / (steps_done - self._told)
        self._sum.zero_()
        self._told = steps_done
        return mean
