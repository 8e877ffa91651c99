"""Means over the last part of a phase, kept as running sums on the device."""

import math
from collections.abc import Mapping
from typing import Any

import torch


class WindowMean:
    """Means of named tensors over the steps of a window at the end of a phase.

    Where the phase's length is known, the window begins at a known step and there is one sum. Where the
    phase may stop at any check, there is one sum for each stretch of steps between two checks, and the
    window is the last of them. All steps weigh the same; sums are fp64 where the device has it.
    """

    def __init__(self, first: int, share: float, *, stretch: int | None = None) -> None:
        """Count steps from `first` on; with `stretch` the mean is over the last `share` of the stretches."""
        self.first = first
        self._share, self._stretch = share, stretch
        self._sums: list[dict[str, torch.Tensor]] = []
        self._counts: list[int] = []

    def counts(self, step: int) -> bool:
        """Return whether this step, counted from 0, is in the window."""
        return step >= self.first

    def add(self, step: int, values: Mapping[str, torch.Tensor]) -> None:
        """Take the values of a step that counts; NaN and infinity count as 0."""
        index = 0 if self._stretch is None else (step - self.first) // self._stretch
        if index == len(self._sums):
            self._sums.append({})
            self._counts.append(0)
        sums = self._sums[index]
        for name, value in values.items():
            finite = torch.nan_to_num(value.detach(), nan=0.0, posinf=0.0, neginf=0.0).to(exact_dtype(value.device))
            sums[name] = sums[name] + finite if name in sums else finite
        self._counts[index] += 1

    @property
    def is_empty(self) -> bool:
        """Whether no step has been counted yet."""
        return not self._counts

    def mean(self) -> dict[str, torch.Tensor]:
        """Return the mean of each tensor; empty before the first step that counts."""
        if self.is_empty:
            return {}
        first = 0 if self._stretch is None else len(self._sums) - math.ceil(self._share * len(self._sums))
        count = sum(self._counts[first:])
        parts = self._sums[first:]
        return {name: torch.stack([part[name] for part in parts]).sum(dim=0) / count for name in parts[0]}

    def state(self) -> dict[str, Any]:
        """Return the sums so far."""
        return {"first": self.first, "counts": list(self._counts), "sums": list(self._sums)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Have added what `state` says."""
        self.first, self._counts, self._sums = state["first"], list(state["counts"]), list(state["sums"])


def exact_dtype(device: torch.device) -> torch.dtype:
    """Return fp64, or fp32 on a device that has no fp64."""
    return torch.float32 if device.type == "mps" else torch.float64
