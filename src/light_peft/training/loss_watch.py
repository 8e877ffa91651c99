"""The loss of a phase, watched without waiting for the device."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator


class LossWatch:
    """Sums the loss on the device and finds the first step at which it was not finite."""

    def __init__(self, phase: str, accelerator: Accelerator) -> None:
        self._phase, self._accelerator = phase, accelerator
        self._sum = torch.zeros((), device=accelerator.device)
        self._first_bad = torch.full((), math.inf, device=accelerator.device)
        self._told = 0

    def add(self, loss: torch.Tensor, step: int) -> None:
        """Take a part of the loss of step `step`, without waiting for the device."""
        self._sum += loss.float()
        bad = torch.where(torch.isfinite(loss), math.inf, float(step))
        self._first_bad = torch.minimum(self._first_bad, bad)

    def mean(self, steps_done: int) -> float:
        """Return the mean loss of the steps since the last call, all processes together.

        Raises:
            ValueError: If a loss was not finite.
        """
        found = torch.stack([self._sum, self._first_bad]).tolist()
        if self._accelerator.num_processes > 1:
            total, first_bad = map(torch.tensor, found)
            torch.distributed.all_reduce(total)
            torch.distributed.all_reduce(first_bad, op=torch.distributed.ReduceOp.MIN)
            found = [float(total), float(first_bad)]
        if math.isfinite(found[1]):
            raise ValueError(
                f"{self._phase}: the loss is not finite at step {int(found[1]) + 1} of this phase; lower "
                f"{self._phase}.learning_rate, add {self._phase}.warmup, or take runtime.precision=fp32"
            )
        mean = found[0] / (steps_done - self._told)
        self._sum.zero_()
        self._told = steps_done
        return mean

    def state(self) -> dict[str, Any]:
        """Return what has been added since the last call of `mean`."""
        return {"sum": self._sum, "told": self._told}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Have added what `state` says."""
        self._sum.copy_(state["sum"])
        self._told = state["told"]
