"""Bottleneck adapters: up(activation(down(h))), added where a sublayer ends, before the residual.

* houlsby (Houlsby et al., arXiv 1902.00751): in series behind the output projections of attention and FFN.
* pfeiffer (Pfeiffer et al., arXiv 2005.00247): in series behind the FFN's output projection only.
* parallel (He et al., arXiv 2110.04366): beside the FFN; the adapter reads what the FFN reads.

The units are the ranks: rows of down with their biases, columns of up.
"""

from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel

from light_peft.config import PeftConfig
from light_peft.model import Backbone
from light_peft.model.cut import MatrixCut
from light_peft.peft_modules.bottleneck_layer import BottleneckConfig, BottleneckView, adapted, config_of, insert
from light_peft.peft_modules.kind import Adapter, PeftKind, PeftView
from light_peft.peft_modules.own import load_own, put_tensors, save_own, train_head, trained_tensors


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


KIND = BottleneckAdapters()
