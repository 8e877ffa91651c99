"""What the kinds that HF peft implements as layers have in common; such a kind is a configuration and a table.

The table says how each tensor of a module lies along the Linear that it sits on, and the cut follows. After a cut
the adapter's own configuration describes what is left, and the model is built anew from it, so the two cannot
disagree and stock peft loads what is saved.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftConfig as HfConfig
from peft import PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTuner
from peft.utils import ModulesToSaveWrapper
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from light_peft import artifacts
from light_peft.config import PeftConfig
from light_peft.model import Backbone
from light_peft.model.cut import MatrixCut
from light_peft.peft_modules.difference import observe_difference
from light_peft.peft_modules.kind import Adapter, PeftKind, PeftView, RatioSink
from light_peft.writing import whole_folder

NAME = "default"
PREFIX = "base_model.model."
PROMPT = "prompt_embeddings"
"""Name of the virtual tokens among an adapter's tensors."""
LISTS = ("target_modules", "feedforward_modules", "modules_to_save")
"""Fields of an adapter's configuration whose order means nothing."""


@dataclass(frozen=True)
class Lay:
    """How one tensor of a module lies along its Linear.

    Attributes:
        rank: The axis that is the ranks.
        output: The axis that is the output features, `block` of them to an entry.
        input: Whether the last axis is the input features.
        scaled: Whether a folded mask goes into the columns; not where the tensor multiplies what
            the Linear's own columns multiply too.
        block: Output features per entry.
    """

    rank: int | None = None
    output: int | None = None
    input: bool = False
    scaled: bool = True
    block: int = 1

    def cut(self, tensor: torch.Tensor, ranks: tuple[int, ...], cut: MatrixCut) -> torch.Tensor:
        """Return what stays of `tensor`."""
        if self.rank is not None:
            tensor = tensor.index_select(self.rank, torch.tensor(ranks, device=tensor.device))
        if self.output is not None and cut.rows is not None:
            entries = cut.rows[:: self.block] // self.block
            tensor = tensor.index_select(self.output, entries.to(tensor.device))
        if self.input:
            tensor = (cut if self.scaled else replace(cut, column_scale=None)).of_input(tensor)
        return tensor


class LayerView:
    """One module of a kind without prunable ranks."""

    rank = 1

    def __init__(self, layer: nn.Module) -> None:
        self._layer = layer

    def factors(self) -> None:
        """Return that there are no ranks."""

    def increment_OI(self, ranks: Sequence[int] | None = None) -> None:
        """Return that it is no sum of ranks."""

    def observe(self, sink: RatioSink, *, with_dropout: bool) -> tuple[RemovableHandle, ...]:
        """Give `sink` the difference that the layer makes."""
        return observe_difference(self._layer, sink, with_dropout=with_dropout)


class HfKind(PeftKind):
    """A kind of HF peft that replaces Linears by layers of `layer_type`."""

    layer_type: type[nn.Module]

    def configure(self, model: PreTrainedModel, backbone: Backbone, config: PeftConfig) -> HfConfig:
        """Return the configuration for HF peft, its targets given by whole paths."""
        raise NotImplementedError

    def lays(self, config: Any, path: str) -> Mapping[str, Lay]:
        """Return how each tensor of the module on `path` lies, by its name inside the module."""
        raise NotImplementedError

    def view(self, layer: nn.Module) -> PeftView:
        """Return the view of one layer."""
        return LayerView(layer)

    def describe_cut(self, config: Any, ranks: dict[str, int]) -> Any:
        """Return the configuration of an adapter that has `ranks` left on the named Linears and nothing else."""
        described = copy.deepcopy(config)
        described.target_modules = set(ranks)
        return described

    def attach(self, model: PreTrainedModel, backbone: Backbone, config: PeftConfig) -> nn.Module:
        """Return `model` with a module on each target of each layer; the head is trained in full."""
        return wrapped(model, self.configure(model, backbone, config))

    def bare(self, model: nn.Module) -> PreTrainedModel:
        """Return the foundation model with the layers in it."""
        return cast(PreTrainedModel, cast(PeftModel, model).get_base_model())

    def views(self, model: nn.Module) -> dict[str, PeftView]:
        """Return the modules by the path of their Linear."""
        layers = self.bare(model).named_modules()
        return {name: self.view(layer) for name, layer in layers if isinstance(layer, self.layer_type)}

    def take_off(self, model: nn.Module) -> tuple[PreTrainedModel, Adapter]:
        """Return the bare model and its adapter."""
        adapter = adapter_of(cast(PeftModel, model))
        unwrap_head(self.bare(model))
        return cast(PreTrainedModel, _tuner(model).unload()), adapter

    def cut(
        self, adapter: Adapter, model: PreTrainedModel, ranks: dict[str, tuple[int, ...]], cuts: dict[str, MatrixCut]
    ) -> Adapter:
        """Return the modules and ranks that stay, each tensor cut as it lies."""
        modules = tuple(f"{PREFIX}{path}." for path in adapter.config.target_modules)
        tensors = {name: tensor for name, tensor in adapter.tensors.items() if not name.startswith(modules)}
        for path, kept in ranks.items():
            for name, lay in self.lays(adapter.config, path).items():
                tensor = adapter.tensors[f"{PREFIX}{path}.{name}"]
                tensors[f"{PREFIX}{path}.{name}"] = lay.cut(tensor, kept, cuts.get(path, MatrixCut()))
        return Adapter(self.describe_cut(adapter.config, {path: len(kept) for path, kept in ranks.items()}), tensors)

    def put_on(self, model: PreTrainedModel, adapter: Adapter) -> nn.Module:
        """Return `model` with `adapter` on it, ready to train."""
        return with_adapter(model, adapter)

    def save(self, model: nn.Module, folder: Path, base_name: str) -> None:
        """Write the adapter in HF peft's format."""
        save_adapter(cast(PeftModel, model), folder, base_name)

    def load(self, base: PreTrainedModel, folder: Path) -> nn.Module:
        """Return `base` with the saved adapter on it, in eval mode."""
        return PeftModel.from_pretrained(base, str(folder)).eval()

    def merge(self, model: nn.Module) -> PreTrainedModel:
        """Return the foundation model with the increments added into its weights."""
        unwrap_head(self.bare(model))
        return cast(PreTrainedModel, _tuner(model).merge_and_unload())


def wrapped(model: PreTrainedModel, config: HfConfig) -> PeftModel:
    """Return `model` inside HF peft; the configuration that it keeps names whole paths, where peft would shorten."""
    own: Any = copy.deepcopy(config)
    kept = {name: copy.copy(value) for name in LISTS if (value := getattr(own, name, None)) is not None}
    if hasattr(own, "fan_in_fan_out"):
        own.fan_in_fan_out = any(isinstance(model.get_submodule(path), Conv1D) for path in own.target_modules)
    peft_model = cast(PeftModel, get_peft_model(model, own))
    for name, value in kept.items():
        setattr(peft_model.peft_config[NAME], name, value)
    return peft_model


def adapter_of(model: PeftModel) -> Adapter:
    """Return a copy of the adapter on a model."""
    tensors = {name: tensor.clone() for name, tensor in get_peft_model_state_dict(model).items()}
    return Adapter(copy.deepcopy(model.peft_config[NAME]), tensors)


def with_adapter(model: PreTrainedModel, adapter: Adapter) -> PeftModel:
    """Return `model` with `adapter` on it, ready to train."""
    peft_model = wrapped(model, adapter.config)
    result: Any = set_peft_model_state_dict(peft_model, adapter.tensors)
    unexpected = set(result.unexpected_keys) - {PROMPT}  # set by itself, yet reported
    assert not unexpected, f"adapter tensors without a place: {unexpected}"
    return peft_model


def save_adapter(model: PeftModel, target: Path, base_name: str) -> None:
    """Write the adapter in HF peft's format; equal adapters give equal files."""
    with whole_folder(target) as folder:
        model.save_pretrained(str(folder))
        path = folder / "adapter_config.json"
        values = artifacts.read_json(path) | {"base_model_name_or_path": base_name}
        values |= {name: sorted(values[name]) for name in LISTS if values.get(name)}
        artifacts.write_json(path, values)


def unwrap_head(bare: PreTrainedModel) -> None:
    """Put the trained head in its own place; HF peft's tuners but LoRA's fail at a head of several modules."""
    wrappers = [(name, module) for name, module in bare.named_modules() if isinstance(module, ModulesToSaveWrapper)]
    for name, wrapper in wrappers:
        bare.set_submodule(name, wrapper.modules_to_save[NAME])


def _tuner(model: nn.Module) -> BaseTuner:
    return cast(BaseTuner, cast(PeftModel, model).base_model)
