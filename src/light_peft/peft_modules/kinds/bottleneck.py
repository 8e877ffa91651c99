"""Bottleneck adapters: up(activation(down(h))), added where a sublayer ends, before the residual.

* houlsby (Houlsby et al., arXiv 1902.00751): in series behind the output projections of attention and FFN.
* pfeiffer (Pfeiffer et al., arXiv 2005.00247): in series behind the FFN's output projection only.
* parallel (He et al., arXiv 2110.04366): beside the FFN; the adapter reads what the FFN reads.

The units are the ranks: rows of down with their biases, columns of up. Shape suffixes: B batch, T tokens, D width.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from light_peft.config import PeftConfig
from light_peft.model import Backbone
from light_peft.model.cut import MatrixCut
from light_peft.peft_modules.kind import Adapter, PeftKind, PeftView, RatioSink
from light_peft.peft_modules.own import load_own, put_tensors, save_own, train_head, trained_tensors
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

    def factors(self) -> tuple[nn.Parameter, nn.Parameter]:
        """Return the weights of down [R, D] and up [D, R]."""
        adapter = self._layer.adapter
        return adapter.down.get_parameter("weight"), adapter.up.get_parameter("weight")

    def observe(self, sink: RatioSink, *, with_dropout: bool) -> Iterable[RemovableHandle]:
        """Give `sink` the increment beside the norm of what it is added to, which in series is its input h."""
        adapter, base_norm_BT = self._layer.adapter, torch.empty(0)

        def after_base(_: nn.Module, __: Any, output_BTD: torch.Tensor) -> None:
            nonlocal base_norm_BT
            base_norm_BT = output_norm_BT(output_BTD)

        def after_adapter(_: nn.Module, inputs: tuple[torch.Tensor, ...], increment_BTD: torch.Tensor) -> None:
            if not with_dropout:
                with torch.no_grad():
                    hidden = adapter.down(inputs[0].to(adapter.down.weight.dtype))
                    increment_BTD = adapter.up(adapter.activation(hidden))
            sink(increment_BTD, base_norm_BT, 1.0)

        return self._layer.base_layer.register_forward_hook(after_base), adapter.register_forward_hook(after_adapter)


class BottleneckAdapters(PeftKind):
    """The bottleneck kind."""

    settings = frozenset({"r", "dropout", "placement", "activation"})
    can_prune = frozenset({"module", "rank"})

    def attach(self, model: PreTrainedModel, backbone: Backbone, config: PeftConfig) -> nn.Module:
        """Return `model` with fresh adapters; the head is trained in full."""
        sites = backbone.sites if config.placement == "houlsby" else backbone.sites_of("ffn")
        sources = {site.consumer.path: site.producers[0].path for site in sites}
        units = dict.fromkeys(sources, config.r)
        own = BottleneckConfig(
            config.activation, config.dropout, units, sources if config.placement == "parallel" else {}
        )
        train_head(model, backbone.head_modules)
        return insert(model, own)

    def bare(self, model: nn.Module) -> PreTrainedModel:
        """Return the model itself, adapters in place."""
        assert isinstance(model, PreTrainedModel)
        return model

    def views(self, model: nn.Module) -> dict[str, PeftView]:
        """Return the adapters by the path of their output projection."""
        return {path: BottleneckView(layer) for path, layer in adapted(model).items()}

    def take_off(self, model: nn.Module) -> tuple[PreTrainedModel, Adapter]:
        """Return the bare model and its adapters."""
        adapter = Adapter(config_of(model), trained_tensors(model))
        for path, layer in adapted(model).items():
            model.set_submodule(path, layer.take_out())
        return self.bare(model), adapter

    def cut(
        self, adapter: Adapter, model: PreTrainedModel, ranks: dict[str, tuple[int, ...]], cuts: dict[str, MatrixCut]
    ) -> Adapter:
        """Return the adapters and units that stay; the widths they sit on are never cut."""
        tensors = {name: tensor for name, tensor in adapter.tensors.items() if ".adapter." not in name}
        for path, kept in ranks.items():
            index = torch.tensor(kept)
            for name, axis in (("down.weight", 0), ("down.bias", 0), ("up.weight", 1), ("up.bias", None)):
                tensor = adapter.tensors[f"{path}.adapter.{name}"]
                left = tensor if axis is None else tensor.index_select(axis, index.to(tensor.device))
                tensors[f"{path}.adapter.{name}"] = left
        sources = {path: source for path, source in adapter.config.sources.items() if path in ranks}
        units = {path: len(kept) for path, kept in ranks.items()}
        return Adapter(replace(adapter.config, units=units, sources=sources), tensors)

    def put_on(self, model: PreTrainedModel, adapter: Adapter) -> nn.Module:
        """Return `model` with its adapters, ready to train."""
        insert(model, adapter.config)
        put_tensors(model, adapter.tensors)
        return model

    def save(self, model: nn.Module, folder: Path, base_name: str) -> None:
        """Write the adapters and the head."""
        values = {"peft_type": "BOTTLENECK", "base_model_name_or_path": base_name, **asdict(config_of(model))}
        save_own(folder, values, trained_tensors(model))

    def load(self, base: PreTrainedModel, folder: Path) -> nn.Module:
        """Return `base` with the saved adapters on it, in eval mode."""
        values, tensors = load_own(folder)
        config = BottleneckConfig(**{name: values[name] for name in BottleneckConfig.__dataclass_fields__})
        return self.put_on(base, Adapter(config, tensors)).requires_grad_(False).eval()

    def merge(self, model: nn.Module) -> PreTrainedModel:
        """Refuse: an adapter is not linear.

        Raises:
            ValueError: Always.
        """
        raise ValueError("merge=true: a bottleneck adapter is no matrix to add to a weight; load with merge=false")


def insert(model: PreTrainedModel, config: BottleneckConfig) -> PreTrainedModel:
    """Return `model` with adapters on it, their weights fresh."""
    for path, units in config.units.items():
        base_layer = model.get_submodule(path)
        weight = base_layer.get_parameter("weight")
        adapter = Bottleneck(weight.shape[0], units, config).to(weight.device)
        source = model.get_submodule(config.sources[path]) if path in config.sources else None
        model.set_submodule(path, AdaptedLinear(base_layer, adapter, source))
    return model


def adapted(model: nn.Module) -> dict[str, AdaptedLinear]:
    """Return the adapted projections by their path."""
    return {path: layer for path, layer in model.named_modules() if isinstance(layer, AdaptedLinear)}


def config_of(model: nn.Module) -> BottleneckConfig:
    """Return the configuration of the adapters on a model."""
    return next(iter(adapted(model).values())).adapter.config


KIND = BottleneckAdapters()
