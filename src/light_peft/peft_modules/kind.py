"""What the package must know of a PEFT kind: how it is attached, seen, and cut."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from light_peft.config import PeftConfig
from light_peft.model import Backbone
from light_peft.model.cut import MatrixCut

RatioSink = Callable[[torch.Tensor, torch.Tensor, float], None]
"""Receives B A x [B, T, O], ||W0 x + b|| [B, T] and the scaling of one forward pass of one module."""


@dataclass(frozen=True)
class Adapter:
    """PEFT off its model: the configuration that rebuilds it, and its tensors (the head's included)."""

    config: Any
    tensors: dict[str, torch.Tensor]


class PeftView(Protocol):
    """One PEFT module on one Linear."""

    @property
    def rank(self) -> int:
        """Number of ranks."""

    def factors(self) -> tuple[nn.Parameter, nn.Parameter]:
        """Return A [R, I] and B [O, R]."""

    def increment_OI(self, ranks: Sequence[int] | None = None) -> torch.Tensor | None:
        """Return what the module, or these ranks of it, add to the weight of its Linear, in fp32.

        None if what the module does is no sum of ranks added to that weight.
        """

    def observe(self, sink: RatioSink, *, with_dropout: bool) -> Iterable[RemovableHandle]:
        """Call `sink` in each forward pass until the handles are removed."""


class PeftKind(Protocol):
    """One way of fine-tuning with few parameters."""

    def attach(self, model: PreTrainedModel, backbone: Backbone, config: PeftConfig) -> nn.Module:
        """Return `model` with PEFT on the configured targets; just PEFT and the head can be trained."""

    def bare(self, model: nn.Module) -> PreTrainedModel:
        """Return the foundation model inside, PEFT still in place, on which the backbone's paths are valid."""

    def views(self, model: nn.Module) -> dict[str, PeftView]:
        """Return the modules by the path of their Linear, in the model's order; empty if there are none."""

    def take_off(self, model: nn.Module) -> tuple[PreTrainedModel, Adapter]:
        """Return the bare model and what was on it; the weights of both stay as they are."""

    def cut(self, adapter: Adapter, ranks: dict[str, tuple[int, ...]], cuts: dict[str, MatrixCut]) -> Adapter:
        """Return the modules and ranks that stay, cut along the Linears they sit on."""

    def put_on(self, model: PreTrainedModel, adapter: Adapter) -> nn.Module:
        """Return `model` with `adapter` on it, ready to train."""
