"""The layers of bottleneck adapters, which HF peft has not: up(activation(down(h))) on an output projection.

Shape suffixes: B batch, T tokens, D width.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from light_peft.model.cut import width_out_in
from light_peft.peft_modules.kind import RatioSink
from light_peft.pruning.scores import output_norm_BT

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}


@dataclass(frozen=True)
class BottleneckConfig:
    """What rebuilds the adapters of a model.

    Attributes:
        activation: Name of the activation.
        dropout: Probability, on the activated units.
        units: Units of each adapter, by the path of the output projection it sits on.
        sources: For a parallel adapter, the path of the Linear whose input it reads.
    """

    activation: str
    dropout: float
    units: dict[str, int]
    sources: dict[str, str]


class Bottleneck(nn.Module):
    """One adapter in fp32; zero at the start, for `up` starts at zero.

    Attributes:
        config: What rebuilds it and its siblings.
    """

    def __init__(self, width: int, units: int, config: BottleneckConfig) -> None:
        super().__init__()
        self.config = config
        self.down = nn.Linear(width, units)
        self.activation = ACTIVATIONS[config.activation]()
        self.dropout = nn.Dropout(config.dropout)
        self.up = nn.Linear(units, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, hidden_BTD: torch.Tensor) -> torch.Tensor:
        """Return the increment [B, T, D] in the dtype of what comes in."""
        units = self.dropout(self.activation(self.down(hidden_BTD.to(self.down.weight.dtype))))
        increment_BTD: torch.Tensor = self.up(units)
        return increment_BTD.to(hidden_BTD.dtype)


class AdaptedLinear(nn.Module):
    """An output projection with an adapter; `source` is the Linear whose input a parallel adapter reads."""

    def __init__(self, base_layer: nn.Module, adapter: Bottleneck, source: nn.Module | None) -> None:
        super().__init__()
        self.base_layer, self.adapter = base_layer, adapter
        self._read: torch.Tensor | None = None
        self._handle = None if source is None else source.register_forward_pre_hook(self._see)

    @property
    def weight(self) -> torch.Tensor:
        """Weight of the projection, which some models look at."""
        return self.base_layer.get_parameter("weight")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the projection of `x` [B, T, *] plus the increment."""
        output_BTD: torch.Tensor = self.base_layer(x)
        read_BTD = output_BTD if self._handle is None else self._read
        assert read_BTD is not None, "the source of a parallel adapter must come before it"
        self._read = None
        increment_BTD: torch.Tensor = self.adapter(read_BTD)
        return output_BTD + increment_BTD.to(output_BTD.dtype)

    def take_out(self) -> nn.Module:
        """Stop reading, and return the projection."""
        if self._handle is not None:
            self._handle.remove()
        return self.base_layer

    def _see(self, _: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        self._read = args[0]


class BottleneckView:
    """One bottleneck adapter."""

    def __init__(self, layer: AdaptedLinear) -> None:
        self._layer = layer

    @property
    def rank(self) -> int:
        """Number of units."""
        return self._layer.adapter.down.out_features

    def increment_OI(self, ranks: Sequence[int] | None = None) -> None:
        """Return that it adds nothing to the weight of its Linear."""

    def factors(self) -> tuple[nn.Parameter, nn.Parameter]:
        """Return the weights of down [R, D] and up [D, R]."""
        adapter = self._layer.adapter
        return adapter.down.get_parameter("weight"), adapter.up.get_parameter("weight")

    def observe(self, sink: RatioSink, *, with_dropout: bool) -> Iterable[RemovableHandle]:
        """Give `sink` the norms of the increment and of what it is added to, which in series is its input h."""
        adapter, base_norm_BT = self._layer.adapter, torch.empty(0)

        def after_base(_: nn.Module, __: Any, output_BTD: torch.Tensor) -> None:
            nonlocal base_norm_BT
            if sink.is_open:
                base_norm_BT = output_norm_BT(output_BTD)

        def after_adapter(_: nn.Module, inputs: tuple[torch.Tensor, ...], increment_BTD: torch.Tensor) -> None:
            if not sink.is_open:
                return
            if not with_dropout:
                with torch.no_grad():
                    hidden = adapter.down(inputs[0].to(adapter.down.weight.dtype))
                    increment_BTD = adapter.up(adapter.activation(hidden))
            sink(output_norm_BT(increment_BTD), base_norm_BT)

        return self._layer.base_layer.register_forward_hook(after_base), adapter.register_forward_hook(after_adapter)


def insert(model: PreTrainedModel, config: BottleneckConfig) -> PreTrainedModel:
    """Return `model` with adapters on it, their weights fresh."""
    for path, units in config.units.items():
        base_layer = model.get_submodule(path)
        device = base_layer.get_parameter("weight").device
        adapter = Bottleneck(width_out_in(base_layer)[0], units, config).to(device)
        source = model.get_submodule(config.sources[path]) if path in config.sources else None
        model.set_submodule(path, AdaptedLinear(base_layer, adapter, source))
    return model


def adapted(model: nn.Module) -> dict[str, AdaptedLinear]:
    """Return the adapted projections by their path."""
    return {path: layer for path, layer in model.named_modules() if isinstance(layer, AdaptedLinear)}


def config_of(model: nn.Module) -> BottleneckConfig:
    """Return the configuration of the adapters on a model."""
    return next(iter(adapted(model).values())).adapter.config
