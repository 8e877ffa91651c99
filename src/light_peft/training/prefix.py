"""The frozen prefix of a model: its lowest blocks, which nothing that trains lies in or below.

What they make of an example never changes, so that a pass over the data can do without them if it is known.

Shape suffixes: B batch, T tokens, D model width.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import nn

Forward = Callable[..., Any]


def frozen_depth(model: nn.Module, blocks: Sequence[nn.Module], head_modules: Iterable[str]) -> int:
    """Return how many of the lowest blocks are a fixed function of the input, the highest of all left out.

    None are where anything trains outside the blocks and the head, such as embeddings or virtual tokens.

    Args:
        model: What forward passes go through, PEFT in place.
        blocks: The transformer blocks inside.
        head_modules: Names of the head's modules.
    """
    names = set(head_modules)
    head = {p for name, p in model.named_parameters() if names & set(name.split("."))}
    trained = {p for p in model.parameters() if p.requires_grad} - head
    of_block = [set(block.parameters()) & trained for block in blocks]
    if trained - set().union(*of_block):
        return 0
    return next((depth for depth, own in enumerate(of_block[:-1]) if own), len(blocks) - 1)


class Prefix:
    """The lowest blocks of a model: it can run just them, or do without them.

    Attributes:
        depth: Their number.
    """

    def __init__(self, model: nn.Module, paths: Sequence[str], depth: int) -> None:
        """Take the blocks at `paths` of `model` below number `depth`, which is 1 or more and below their number."""
        assert 0 < depth < len(paths), (depth, len(paths))
        self._model, self._paths, self.depth = model, paths, depth
        self._rest: tuple[None, ...] | None = None

    def states(self, forward: Callable[[], object]) -> torch.Tensor:
        """Return what comes out of the prefix [B, T, D] when `forward` runs the model; nothing above is computed."""
        found: list[torch.Tensor] = []

        def stop(_: nn.Module, args: tuple[Any, ...]) -> None:
            found.append(args[0])
            raise _PrefixIsOver

        lowest, above = (self._model.get_submodule(self._paths[number]) for number in (0, self.depth))
        hooks = [lowest.register_forward_hook(self._see_form), above.register_forward_pre_hook(stop)]
        try:
            with suppress(_PrefixIsOver):
                forward()
        finally:
            for hook in hooks:
                hook.remove()
        assert found, "the model has passed its blocks by"
        return found[0]

    @contextmanager
    def known(self, states_BTD: torch.Tensor) -> Iterator[None]:
        """Let the model take `states_BTD` for what the prefix gives and compute what lies above alone."""
        assert self._rest is not None, "what a block returns shows when the prefix is run"
        rest, parents = self._rest, {}
        above = self._model.get_submodule(self._paths[self.depth])

        def pass_by(hidden: torch.Tensor, *_: Any, **__: Any) -> Any:
            return (hidden, *rest) if rest else hidden

        def enter(_: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            return above(states_BTD, *args, **kwargs)

        forwards: list[Forward] = [pass_by] * self.depth + [enter]
        try:
            for path, forward in zip(self._paths[: self.depth + 1], forwards, strict=True):
                parent, _, name = path.rpartition(".")
                place = self._model.get_submodule(parent)._modules
                parents[path] = place, name, place[name]
                place[name] = _InPlaceOf(place[name], forward)
            yield
        finally:
            for place, name, block in parents.values():
                place[name] = block

    def _see_form(self, _: nn.Module, __: object, output: Any) -> None:
        """Note what a block returns behind the hidden states: nothing, or a tuple that is empty but for them."""
        self._rest = (None,) * (len(output) - 1) if isinstance(output, tuple) else ()


class _PrefixIsOver(Exception):  # noqa: N818 nothing is wrong
    """The forward pass has reached the first block above the prefix."""


class _InPlaceOf(nn.Module):
    """Stands in the model where a block was, has its attributes, and does something else."""

    def __init__(self, block: Any, forward: Forward) -> None:
        super().__init__()
        self.__dict__ |= {"_block": block, "forward": forward}  # past nn.Module: the block is not a part of this one

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_block"], name)
