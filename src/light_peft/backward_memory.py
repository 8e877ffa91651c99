"""The memory that autograd keeps between forward and backward pass."""

import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch


class Saved:
    """What is kept for backward passes: each storage once, weights left out.

    Attributes:
        peak: The most bytes at a time.
    """

    def __init__(self, weights: Iterable[torch.Tensor]) -> None:
        """Leave out the storages of `weights`, which are there anyway."""
        self.peak = self._bytes = 0
        self._weights = {weight.untyped_storage().data_ptr() for weight in weights}
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
def saved_for_backward(weights: Iterable[torch.Tensor]) -> Iterator[Saved]:
    """Give what autograd keeps within the block, `weights` left out."""
    saved = Saved(weights)
    with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda kept: kept.tensor):
        yield saved
