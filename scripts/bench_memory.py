"""The memory of a step on a CPU."""

import gc
from collections.abc import Callable
from itertools import accumulate

from torch import nn
from torch.profiler import ProfilerActivity, profile


def allocated_by(step: Callable[[], object]) -> int:
    """Return the most bytes that a step on a CPU has allocated at a time."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    events = (event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]")
    sizes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return max(accumulate(sizes), default=0)


def all_parameters() -> list[nn.Parameter]:
    """Return the weights of every model that there is."""
    return [thing for thing in gc.get_objects() if type(thing) is nn.Parameter]
