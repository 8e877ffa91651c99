"""What the package must know of a PEFT kind: how it is attached, seen, cut, saved, and what it cannot do."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from light_peft.config import Config, PeftConfig
from light_peft.model import Backbone
from light_peft.model.cut import MatrixCut


class RatioSink(Protocol):
    """Receives what one module's importance ratio is made of, in each forward pass that counts."""

    @property
    def is_open(self) -> bool:
        """Whether the forward pass of the moment counts; nothing need be computed for one that does not."""

    def __call__(self, increment_norm_BT: torch.Tensor, base_norm_BT: torch.Tensor) -> None:
        """Take the norms of the increment, scaled, and of the base layer's output."""


@dataclass(frozen=True)
class Adapter:
    """PEFT off its model: the configuration that rebuilds it, and its tensors (the head's included)."""

    config: Any
    tensors: dict[str, torch.Tensor]


class PeftView(Protocol):
    """One PEFT module on one Linear."""

    @property
    def rank(self) -> int:
        """Number of ranks; 1 where the module is all there is to keep or cut."""

    def factors(self) -> tuple[nn.Parameter, nn.Parameter] | None:
        """Return A [R, I] and B [O, R], whose rows and columns are the ranks; None without prunable ranks."""

    def increment_OI(self, ranks: Sequence[int] | None = None) -> torch.Tensor | None:
        """Return what the module, or these ranks of it, add to the weight of its Linear, in fp32.

        None if what the module does is no sum of ranks added to that weight.
        """

    def observe(self, sink: RatioSink, *, with_dropout: bool) -> Iterable[RemovableHandle]:
        """Call `sink` in each forward pass for which it is open, until the handles are removed."""


class StepObserver(Protocol):
    """Something that acts on each step of the training phase; steps count from 0."""

    def after_backward(self, step: int) -> None:
        """See the gradients of a whole step, unscaled and not yet clipped."""

    def after_step(self, step: int) -> None:
        """See the model after the optimizer has moved it."""

    def state(self) -> dict[str, Any]:
        """Return where it stands, for a checkpoint."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Stand where `state` says."""


class PeftKind(Protocol):
    """One way of fine-tuning with few parameters; what has a body here is the answer that most kinds give.

    Attributes:
        settings: Names of the fields of `PeftConfig` that the kind reads.
        can_prune: What can be cut of it: `module`, `rank`, both or nothing.
        keeps_base: Whether the foundation model's own weights stay as they were, so that a saved adapter
            and the model's source give the trained model again.
    """

    settings: frozenset[str]
    can_prune: frozenset[str] = frozenset()
    keeps_base: bool = True

    def refusals(self, config: Config) -> Iterator[str]:
        """Yield what this kind cannot do of what is asked for: key, value and the way out."""
        yield from ()

    def model_refusals(self, config: Config, model: PreTrainedModel, backbone: Backbone) -> Iterator[str]:
        """Yield what this kind cannot do on this model, which is bare and uncut."""
        yield from ()

    def attach(self, model: PreTrainedModel, backbone: Backbone, config: PeftConfig) -> nn.Module:
        """Return `model` with PEFT in place; just PEFT and the head can be trained."""
        ...

    def bare(self, model: nn.Module) -> PreTrainedModel:
        """Return the foundation model inside, PEFT still in place, on which the backbone's paths are valid."""
        ...

    def views(self, model: nn.Module) -> dict[str, PeftView]:
        """Return the modules by the path of their Linear, in the model's order; empty if there are none."""
        return {}

    def observers(self, model: nn.Module, steps: int) -> list[StepObserver]:
        """Return what must act on each of the `steps` steps of the training phase."""
        return []

    def take_off(self, model: nn.Module) -> tuple[PreTrainedModel, Adapter]:
        """Return the bare model and what was on it; the weights of both stay as they are."""
        ...

    def cut(
        self, adapter: Adapter, model: PreTrainedModel, ranks: dict[str, tuple[int, ...]], cuts: dict[str, MatrixCut]
    ) -> Adapter:
        """Return what stays of an adapter.

        Args:
            adapter: What `take_off` returned.
            model: The bare model that it was on, not yet cut.
            ranks: The modules that stay, by the path of their Linear, and their ranks.
            cuts: The cut of each Linear, by its path.
        """
        ...

    def put_on(self, model: PreTrainedModel, adapter: Adapter) -> nn.Module:
        """Return `model` with `adapter` on it, ready to train."""
        ...

    def save(self, model: nn.Module, folder: Path, base_name: str) -> None:
        """Write what `load` needs to `folder`; `base_name` is what the foundation model is called."""
        ...

    def load(self, base: PreTrainedModel, folder: Path) -> nn.Module:
        """Return `base` with what `save` wrote on it, in eval mode."""
        ...

    def merge(self, model: nn.Module) -> PreTrainedModel:
        """Return the foundation model with PEFT computed into its weights.

        Raises:
            ValueError: If this kind has no such form.
        """
        ...
