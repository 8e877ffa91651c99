"""The memory of a step of training: what autograd keeps, and what is allocated."""

import gc
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import accumulate

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile


def allocated_by(step: Callable[[], object]) -> int:
    """Return the most bytes that a step on a CPU has allocated at a time."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    events = (event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]")
    sizes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return max(accumulate(sizes), default=0)


class Saved:
    """What autograd keeps for backward passes: each storage once, weights left out.

    Attributes:
        peak: The most bytes at a time.
    """

    def __init__(self) -> None:
        """Keep in mind what are weights."""
        self.peak = self._bytes = 0
        self._weights = {
            thing.untyped_storage().data_ptr() for thing in gc.get_objects() if type(thing) is nn.Parameter
        }
        self._uses: Counter[int] = Counter()

    def pack(self, tensor: torch.Tensor) -> "Kept":
        """Note that a tensor is kept from now on."""
        storage = tensor.untyped_storage()
        address = storage.data_ptr()
        if address in self._weights:
            return Kept(tensor)
        if not self._uses[address]:
            self._bytes += storage.nbytes()
            self.peak = max(self.peak, self._bytes)
        self._uses[address] += 1
        kept = Kept(tensor)
        weakref.finalize(kept, self._drop, address, storage.nbytes())
        return kept

    def _drop(self, address: int, size: int) -> None:
        self._uses[address] -= 1
        if not self._uses[address]:
            self._bytes -= size


class Kept:
    """Holds a tensor for as long as autograd does."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor


@contextmanager
def saved_for_backward() -> Iterator[Saved]:
    """Give what autograd keeps within the block."""
    saved = Saved()
    with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda kept: kept.tensor):
        yield saved
