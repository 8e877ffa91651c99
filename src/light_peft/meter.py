"""What each phase of a run costs: seconds, steps, examples, tokens, FLOPs, peak memory."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

CLEAR_REFS = Path("/proc/self/clear_refs")
STATUS = Path("/proc/self/status")
logger = logging.getLogger("light_peft")
STEPS_COUNTED = 2
"""Optimizer steps of a phase whose FLOPs are counted; the rest follow from their shapes."""


@dataclass
class PhaseCost:
    """Cost of one phase, summed over all times it was entered.

    Attributes:
        seconds: Wall clock, without the phases nested inside.
        steps: Optimizer steps (batches in evaluation).
        examples: Examples that went through the model.
        tokens: Tokens without padding.
        flops: Floating point operations of forward and backward passes, padding included; extrapolated
            from counted steps by batch * length and batch * length^2.
        peak_memory_bytes: Allocated on the accelerator; on a CPU the resident memory of the process.
        part_seconds: Seconds of what was measured by itself within the phase, by name.
        apart_flops: Those of `flops` that are no part of the phase's steps.
    """

    seconds: float = 0.0
    steps: int | None = None
    examples: int | None = None
    tokens: int | None = None
    flops: int | None = None
    peak_memory_bytes: int = 0
    part_seconds: dict[str, float] | None = None
    apart_flops: int = 0
    shapes: list[tuple[int, int]] = field(default_factory=list)
    counted: list[tuple[int, int, int]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the figures, without those that do not apply."""
        figures = asdict(self)
        del figures["shapes"], figures["counted"], figures["apart_flops"]
        return {name: value for name, value in figures.items() if value is not None}


@contextmanager
def part(cost: PhaseCost, name: str) -> Iterator[None]:
    """Note the seconds of the block as those of a part of the phase; what nests inside counts in both."""
    began = time.perf_counter()
    try:
        yield
    finally:
        cost.part_seconds = cost.part_seconds or {}
        cost.part_seconds[name] = cost.part_seconds.get(name, 0.0) + time.perf_counter() - began


@contextmanager
def counted_apart(cost: PhaseCost) -> Iterator[PhaseCost]:
    """Give a cost for passes that are of another kind than the steps of the phase, which their FLOPs are charged to."""
    own = PhaseCost()
    yield own
    settle_flops(own)
    cost.apart_flops += own.flops or 0


class Meter:
    """Keeps the cost of the phases; a phase entered inside another stops the outer clock."""

    def __init__(self, device: torch.device) -> None:
        self.phases: dict[str, PhaseCost] = {}
        self._device = device
        self._active: list[str] = []
        self._since = time.perf_counter()
        self._memory_at_start = memory_in_use(device)

    @contextmanager
    def phase(self, name: str) -> Iterator[PhaseCost]:
        """Charge the block to phase `name`."""
        self._charge()
        self._active.append(name)
        logger.debug("%s begins", name)
        cost = self.phases.setdefault(name, PhaseCost())
        try:
            yield cost
        finally:
            self._charge()
            self._active.pop()
            settle_flops(cost)
            logger.debug("%s ends", name)

    def settle(self) -> None:
        """Charge the active phase with what it has cost up to now."""
        self._charge()

    def state(self) -> dict[str, Any]:
        """Return the costs so far."""
        return {name: asdict(cost) for name, cost in self.phases.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Have charged what `state` says."""
        self.phases = {name: PhaseCost(**cost) for name, cost in state.items()}

    def add_up(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Make this the costs of all processes: examples, tokens and FLOPs add up, of peaks the highest counts."""
        for name, cost in self.phases.items():
            own = [state[name] for state in states]
            cost.peak_memory_bytes = max(one["peak_memory_bytes"] for one in own)
            for figure in ("examples", "tokens", "flops"):
                if getattr(cost, figure) is not None:
                    setattr(cost, figure, sum(one[figure] for one in own))

    def _charge(self) -> None:
        """Add the time and the peak since the last call to the active phase, and start both anew."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now, peak = time.perf_counter(), read_and_reset_peak(self._device)
        if self._active:
            cost = self.phases[self._active[-1]]
            cost.seconds += now - self._since
            cost.peak_memory_bytes = max(cost.peak_memory_bytes, peak)
        self._since = now

    def to_json(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return the figures of these phases; one that was never entered has cost nothing."""
        return {name: self.phases.get(name, PhaseCost()).to_json() for name in names}

    def totals(self) -> dict[str, float | int]:
        """Return the seconds of all phases together, the highest peak, and the memory in use before the first phase."""
        costs = self.phases.values()
        return {
            "seconds": sum(cost.seconds for cost in costs),
            "peak_memory_bytes": max((cost.peak_memory_bytes for cost in costs), default=0),
            "memory_at_start_bytes": self._memory_at_start,
        }


@contextmanager
def count_step(cost: PhaseCost, shapes: list[tuple[int, int]]) -> Iterator[None]:
    """Charge one step over batches of these (rows, padded length) shapes; count the FLOPs of the first steps."""
    cost.steps = (cost.steps or 0) + 1
    cost.examples = (cost.examples or 0) + sum(rows for rows, _ in shapes)
    cost.shapes.extend(shapes)
    if len(cost.counted) >= STEPS_COUNTED:
        yield
        return
    with FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter:
        yield
    linear = sum(rows * length for rows, length in shapes)
    square = sum(rows * length * length for rows, length in shapes)
    cost.counted.append((linear, square, counter.get_total_flops()))


def settle_flops(cost: PhaseCost) -> None:
    """Set `cost.flops` from the counted steps: a * rows * length + b * rows * length^2.

    What runs once per example, such as the head, is spread over its tokens; that is the error, below 0.1 %. Where a
    decoder writes or scores more behind one prompt than behind another, that is spread too, and the error is larger.
    """
    if not cost.counted:
        cost.flops = cost.apart_flops or cost.flops
        return
    cost.flops = _flops_of_steps(cost) + cost.apart_flops


def _flops_of_steps(cost: PhaseCost) -> int:
    linear = sum(rows * length for rows, length in cost.shapes)
    square = sum(rows * length * length for rows, length in cost.shapes)
    (l0, s0, f0), (l1, s1, f1) = cost.counted[0], cost.counted[-1]
    determinant = l0 * s1 - l1 * s0
    a, b = ((f0 * s1 - f1 * s0) / determinant, (l0 * f1 - l1 * f0) / determinant) if determinant else (-1.0, -1.0)
    if min(a, b) < 0:  # shapes too alike to tell, or what was written or scored differed more than what was read
        return round(sum(flops for *_, flops in cost.counted) * linear / sum(row[0] for row in cost.counted))
    return round(a * linear + b * square)


def read_and_reset_peak(device: torch.device) -> int:
    """Return the peak memory since the last call in bytes, and start a new peak where the system allows it."""
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        return peak
    if STATUS.exists():
        peak = _status_bytes("VmHWM")
        with suppress(OSError):
            CLEAR_REFS.write_text("5")
        return peak
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def memory_in_use(device: torch.device) -> int:
    """Return the memory in use now, in bytes, of the kind that the peaks are of; 0 where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return _status_bytes("VmRSS") if STATUS.exists() else 0


def _status_bytes(name: str) -> int:
    """Return a figure of the system's own account of this process; 0 if it is not there."""
    lines = (line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(next(lines, f"{name}: 0 kB").split()[1]) * 1024


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward_flops(grad: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    # Two products in the forward pass; five in the backward pass, which computes the scores again.
    return sdpa_flop_count(query, key, value) * 5 // 2


CPU_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_flops,
}
"""FLOP formulas of the fused attention on CPUs, which torch's counter does not know."""
