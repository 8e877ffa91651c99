"""Cases that are held against each other: built, measured in turns, taken down."""

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from light_peft.backward_memory import saved_for_backward
from light_peft.meter import CPU_ATTENTION

WARM_UP = 1
"""Rounds that are not measured, behind the steps whose FLOPs and bytes are counted."""

Step = Callable[[], object]


@dataclass(frozen=True)
class Built:
    """A model, what is done with it again and again, and what ends that."""

    model: nn.Module
    step: Step
    close: Callable[[], None] = lambda: None

    @property
    def weight_bytes(self) -> int:
        """Bytes of the model's weights."""
        return sum(tensor.nbytes for tensor in (*self.model.parameters(), *self.model.buffers()))


@dataclass
class Case:
    """Something whose cost is measured.

    Attributes:
        name: What it is.
        against: The case that it is held against; its own name for none.
        build: Makes it ready.
        times: How often its step does it.
        seconds: One figure per round.
        beside: Seconds of what it is held against, in the same rounds.
        flops: Of one step.
        saved_bytes: Kept for the backward pass, without weights.
        peak_bytes: Weights and the highest allocation above them in a step.
    """

    name: str
    against: str
    build: Callable[[], Built]
    times: int = 1
    seconds: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    flops: int = 0
    saved_bytes: int = 0
    peak_bytes: int = 0


def measure(cases: Sequence[Case], rounds: int, device: torch.device, *, by_pairs: bool) -> None:
    """Fill in the figures of all cases; what they are held against comes first among them.

    Args:
        cases: What is measured.
        rounds: How often.
        device: Where the models are.
        by_pairs: Have no more in memory than a case and the one that it is held against, which take turns; else all
            do, so that a machine that slows down slows all.
    """
    by_name = {case.name: case for case in cases}
    groups = [cases] if not by_pairs else [_pair(case, by_name) for case in cases]
    for group in groups:
        built = {case.name: case.build() for case in group}
        for case in group:
            _count(case, built[case.name], device)
        for number in range(WARM_UP + rounds):
            seconds = {case.name: _timed(case, built[case.name], device) for case in group}
            if number >= WARM_UP:
                for case in group if not by_pairs else group[-1:]:
                    case.seconds.append(seconds[case.name])
                    case.beside.append(seconds[case.against])
        for each in built.values():
            each.close()
        del built, each
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _pair(case: Case, by_name: dict[str, Case]) -> list[Case]:
    return [by_name[case.against], case] if case.against != case.name else [case]


def _count(case: Case, built: Built, device: torch.device) -> None:
    """Set the FLOPs and bytes of a case."""
    with FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter:
        built.step()
    case.flops = counter.get_total_flops() // case.times
    with saved_for_backward(built.model.parameters()) as saved:
        built.step()
    case.saved_bytes = saved.peak
    if device.type == "cpu":
        case.peak_bytes = built.weight_bytes + allocated_by(built.step)


def _timed(case: Case, built: Built, device: torch.device) -> float:
    """Return the seconds of a step; on a GPU the highest allocation goes into the case."""
    if device.type != "cuda":
        began = time.perf_counter()
        built.step()
        return (time.perf_counter() - began) / case.times
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    built.step()
    end.record()
    torch.cuda.synchronize(device)
    above = torch.cuda.max_memory_allocated(device) - before
    case.peak_bytes = max(case.peak_bytes, built.weight_bytes + above)
    return start.elapsed_time(end) / 1000 / case.times


def allocated_by(step: Step) -> int:
    """Return the most bytes that a step on a CPU has allocated at a time."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    events = (event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]")
    sizes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return max(accumulate(sizes), default=0)


def line_of(case: Case, against: Case) -> dict[str, float]:
    """Return the figures of a case beside those of the one it is held against."""
    measured = statistics.median(one / other for one, other in zip(case.seconds, case.beside, strict=True))
    ideal = case.flops / against.flops
    return {
        "seconds": statistics.median(case.seconds),
        "spread": (max(case.seconds) - min(case.seconds)) / statistics.median(case.seconds),
        "ratio": measured,
        "flop_ratio": ideal,
        "of_ideal": ideal / measured,
        "saved_ratio": case.saved_bytes / against.saved_bytes if against.saved_bytes else 0.0,
        "saved_bytes": case.saved_bytes,
        "peak_bytes": case.peak_bytes,
        "peak_ratio": case.peak_bytes / against.peak_bytes,
    }
