"""The training loop: estimation and training both run through it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from light_peft.data.batches import STAND_IN, Batch
from light_peft.meter import PhaseCost, count_step
from light_peft.model.sharding import average_gradients, is_sharded
from light_peft.processes import any_of, sum_over
from light_peft.tasks.formulation import model_loss, num_rows
from light_peft.training.loss_watch import LossWatch

CHECK_EVERY = 10
"""Optimizer steps between two looks at the loss, each of which waits for the device."""

Loss = Callable[[nn.Module, Batch], torch.Tensor]
"""Runs the model on a batch and returns its loss, a scalar with a gradient: a mean over what it is the loss of."""
Weight = Callable[[Batch], torch.Tensor | float]
"""Returns over how many, such as examples or tokens, the loss of a batch is the mean."""
OnProgress = Callable[[int, float], None]
"""Receives the optimizer steps done and the mean loss since the last call."""


class Observer(Protocol):
    """Something that watches a phase; steps count from 0."""

    def after_backward(self, step: int) -> None:
        """See the gradients of a whole step, unscaled and not yet clipped."""

    def after_step(self, step: int) -> None:
        """See the model after the optimizer has moved it."""


class Keeper:
    """Keeps a phase from being lost; this one writes nothing and never stops."""

    def is_due(self, step: int) -> bool:
        """Return whether this process would write a checkpoint behind `step` steps."""
        return False

    def must_stop(self) -> bool:
        """Return whether this process has been told to end."""
        return False

    def keep(self, step: int, *, is_over: bool, stop: bool) -> None:
        """Write a checkpoint behind `step` steps, which may have ended the phase; with `stop` it does not return."""


NOTHING_KEPT = Keeper()


@dataclass
class Phase:
    """What one pass through the loop shall do.

    Attributes:
        name: estimate or train.
        steps: Optimizer steps.
        accumulation: Forward passes per optimizer step and process.
        max_grad_norm: Clip over all trainables; 0 turns it off.
        loss: What is minimised; the model's own loss unless something else is wanted.
        weight: What the loss of a batch counts for beside those of the step's other batches.
        penalty: Added to the loss, as a function of the current parameters.
        is_done: Asked after every step; the phase ends early where it says so.
        stands_in: Whether the batch of the moment is there only so that its process has one, and counts for nothing.
        complete: Adds to a batch, still on the host, what its columns alone do not say.
    """

    name: str
    steps: int
    optimizer: Optimizer
    scheduler: LRScheduler
    accumulation: int = 1
    max_grad_norm: float = 1.0
    loss: Loss = model_loss
    weight: Weight = num_rows
    penalty: Callable[[], torch.Tensor] | None = None
    is_done: Callable[[], bool] = lambda: False
    stands_in: bool = False
    complete: Callable[[Batch], Batch] = lambda batch: batch


class PhaseRun:
    """One pass through the loop: up to `phase.steps` optimizer steps, from wherever it stands.

    Attributes:
        step: Optimizer steps done.
    """

    def __init__(
        self, phase: Phase, model: nn.Module, loader: Iterable[Batch], accelerator: Accelerator, *, cost: PhaseCost
    ) -> None:
        """Make ready to train `model`, passing over `loader` as often as needed."""
        self.step = 0
        self._phase, self._model, self._loader = phase, model, loader
        self._accelerator, self._cost = accelerator, cost
        self._watch = LossWatch(phase.name, accelerator)
        self._tokens = torch.zeros((), dtype=torch.long, device=accelerator.device)

    def run(
        self,
        observers: Sequence[Observer] = (),
        on_progress: OnProgress = lambda step, loss: None,
        keeper: Keeper = NOTHING_KEPT,
    ) -> None:
        """Train to the end of the phase.

        A step is one of the whole run: the batches of all processes and of all its forward passes weigh as they
        would in one batch.

        Raises:
            ValueError: If the loss is not finite; phase and step are named.
        """
        phase = self._phase
        batches = endless(self._loader)
        self._model.train()
        is_over = self.step >= phase.steps or phase.is_done()
        while not is_over:
            self._gradient([next(batches) for _ in range(phase.accumulation)], observers)
            phase.optimizer.step()
            phase.scheduler.step()
            phase.optimizer.zero_grad()
            self.step += 1
            if self.step % CHECK_EVERY == 0 or self.step == phase.steps:
                on_progress(self.step, self._watch.mean(self.step))
            for observer in observers:
                observer.after_step(self.step - 1)
            is_over, is_due, stop = any_of(
                self._accelerator,
                self.step == phase.steps or phase.is_done(),
                keeper.is_due(self.step),
                keeper.must_stop(),
            )
            if is_over or is_due or stop:
                keeper.keep(self.step, is_over=is_over, stop=stop)
        self._cost.tokens = (self._cost.tokens or 0) + int(self._tokens)

    def state(self) -> dict[str, Any]:
        """Return where this process stands: JSON values and tensors."""
        return {"step": self.step, "watch": self._watch.state(), "tokens": self._tokens}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Stand where `state` says."""
        self.step = state["step"]
        self._watch.restore(state["watch"])
        self._tokens.copy_(state["tokens"])

    def _gradient(self, micro_batches: Sequence[Batch], observers: Sequence[Observer]) -> None:
        """Compute the gradient of a step, show it to the observers, and clip it."""
        phase, accelerator = self._phase, self._accelerator
        needed = [phase.complete(batch) for batch in self._needed(micro_batches)]
        micro_batches = [send_to_device(batch, accelerator.device) for batch in needed]
        with count_step(self._cost, [shape_of(batch) for batch in micro_batches]):
            shares = self._shares(micro_batches)
            for index, batch in enumerate(micro_batches):
                last = index == len(micro_batches) - 1
                with nullcontext() if last else accelerator.no_sync(self._model):
                    self._backward(batch, shares[index], 1 / len(micro_batches))
            if is_sharded(self._model):
                average_gradients(self._model.parameters())
        if phase.max_grad_norm or observers:
            accelerator.unscale_gradients(phase.optimizer)
        for observer in observers:
            observer.after_backward(self.step)
        if phase.max_grad_norm:
            parameters = [p for group in phase.optimizer.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(parameters, phase.max_grad_norm)

    def _needed(self, micro_batches: Sequence[Batch]) -> Sequence[Batch]:
        """Return the batches without those that count for nothing; the last must stay, all processes meet in it.

        With a sharded model they meet in each.
        """
        if is_sharded(self._model):
            return micro_batches
        return [*(batch for batch in micro_batches[:-1] if STAND_IN not in batch), micro_batches[-1]]

    def _shares(self, micro_batches: Sequence[Batch]) -> torch.Tensor:
        """Return what the mean loss of each batch counts for in that of the whole step; over all they sum to 1."""
        device, weight = self._accelerator.device, self._phase.weight
        weights = torch.stack(
            [
                torch.zeros((), device=device)
                if STAND_IN in batch
                else torch.as_tensor(weight(batch), dtype=torch.float32, device=device)
                for batch in micro_batches
            ]
        )
        (total,) = sum_over(self._accelerator, weights.sum())
        return weights / total

    def _backward(self, batch: Batch, share: torch.Tensor, part: float) -> None:
        """Add this batch's share of the gradient, and `part` of the penalty's.

        The mean over the processes is the gradient of the step.
        """
        phase, processes = self._phase, self._accelerator.num_processes
        inputs = {name: value for name, value in batch.items() if name != STAND_IN}
        phase.stands_in = STAND_IN in batch
        loss = phase.loss(self._model, inputs) * share
        if phase.penalty is not None:
            loss = loss + phase.penalty() * part / processes
        self._accelerator.backward(loss * processes)
        self._watch.add(loss.detach(), self.step)
        self._tokens += batch["attention_mask"].sum()


def shape_of(batch: Batch) -> tuple[int, int]:
    """Return the rows of a batch and their padded length."""
    rows, length = batch["input_ids"].shape
    return rows, length


def endless(loader: Iterable[Batch]) -> Iterator[Batch]:
    """Yield the batches of `loader` over and over; each pass is a new epoch of the loader."""
    while True:
        yield from loader


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
