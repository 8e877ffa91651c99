"""What enters the consumers: running means and second moments of the groups' outputs.

Shape suffixes: B batch, T tokens, N tokens that count, I input width of a consumer.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from light_peft.pruning.criteria import Subject, with_virtual_tokens


@dataclass
class Moments:
    """Sums over tokens of the input x of one consumer, before its mask.

    Attributes:
        count: Number of tokens, a scalar on the device.
        sum_I: Sum of x.
        squares_II: Sum of x x^T; None if not asked for.
    """

    count: torch.Tensor
    sum_I: torch.Tensor
    squares_II: torch.Tensor | None

    def to(self, device: torch.device) -> "Moments":
        """Return them on `device`."""
        squares_II = self.squares_II.to(device) if self.squares_II is not None else None
        return Moments(self.count.to(device), self.sum_I.to(device), squares_II)

    def mean_I(self) -> torch.Tensor:
        """Return the mean of x."""
        return self.sum_I / self.count

    def second_II(self, *, centered: bool) -> torch.Tensor:
        """Return the mean of x x^T, or the covariance."""
        assert self.squares_II is not None
        second_II = self.squares_II / self.count
        return second_II - torch.outer(self.mean_I(), self.mean_I()) if centered else second_II


class ConsumerMoments:
    """Gathers the moments of every consumer in the steps that count, padding left out.

    Attributes:
        moments: Those of this process by the path of the consumer; filled by the first step that counts.
    """

    def __init__(self, subject: Subject, *, second: bool, counts: Callable[[], bool]) -> None:
        """Gather second moments too if `second`; `counts` says whether the current step does."""
        self.moments: dict[str, Moments] = {}
        self._subject, self._second, self._counts = subject, second, counts
        self._tokens_BT: torch.Tensor | None = None

    @contextmanager
    def watching(self, model: nn.Module, wanted: bool = True) -> Iterator["ConsumerMoments"]:
        """Hook into the forward passes of `model` inside the block, in front of the masks, if it is wanted."""
        handles: list[Any] = [model.register_forward_pre_hook(self._see_batch, with_kwargs=True)]
        handles.append(model.register_forward_hook(self._forget_batch))
        for site in self._subject.sites if wanted else ():
            consumer = self._subject.model.get_submodule(site.consumer.path)
            handles.append(consumer.register_forward_pre_hook(self._sink(site.consumer.path), prepend=True))
        try:
            yield self
        finally:
            for handle in handles:
                handle.remove()

    def total(self) -> dict[str, Moments]:
        """Return the moments over all processes, by the path of the consumer."""
        return {path: self._total(own) for path, own in self.moments.items()}

    def state(self) -> dict[str, Any]:
        """Return what this process has gathered so far."""
        return {path: [found.count, found.sum_I, found.squares_II] for path, found in self.moments.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Have gathered what `state` says."""
        self.moments = {path: Moments(*sums) for path, sums in state.items()}

    def _total(self, own: Moments) -> Moments:
        sums = [own.count, own.sum_I] if own.squares_II is None else [own.count, own.sum_I, own.squares_II]
        count, sum_I, *squares = self._subject.sums(*sums)
        return Moments(count, sum_I, squares[0] if squares else None)

    def _see_batch(self, _: nn.Module, __: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._tokens_BT = kwargs["attention_mask"]

    def _forget_batch(self, *_: object) -> None:
        self._tokens_BT = None

    def _sink(self, path: str) -> Any:
        @torch.no_grad()
        def add(_: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            # The backward pass may compute activations again, which have been counted by then.
            if self._tokens_BT is not None and self._counts() and self._is_training:
                self._add(path, args[0], self._tokens_BT)

        return add

    @property
    def _is_training(self) -> bool:
        return self._subject.model.training

    def _add(self, path: str, hidden_BTI: torch.Tensor, tokens_BT: torch.Tensor) -> None:
        width, device = hidden_BTI.shape[-1], hidden_BTI.device
        x_NI = hidden_BTI.reshape(-1, width)  # OPT has flattened it already
        x_NI = x_NI[with_virtual_tokens(tokens_BT, len(x_NI)).flatten().bool()].float()
        if path not in self.moments:
            squares_II = torch.zeros(width, width, device=device) if self._second else None
            self.moments[path] = Moments(torch.zeros((), device=device), torch.zeros(width, device=device), squares_II)
        found = self.moments[path]
        found.count += len(x_NI)
        found.sum_I += x_NI.sum(dim=0)
        if found.squares_II is not None:
            found.squares_II.addmm_(x_NI.T, x_NI)
