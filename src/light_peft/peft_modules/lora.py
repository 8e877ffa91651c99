"""LoRA through HF peft: the view of one module, and the cut of an adapter.

After a cut the adapter's own configuration describes what is left (targets, `rank_pattern`,
`alpha_pattern`), and the model is built anew from that configuration, so the two cannot disagree and
stock peft loads what is saved. Shape suffixes: B batch, T tokens, I input, O output, R rank.
"""

import copy
import re
from collections.abc import Sequence
from typing import Any, cast

import torch
from peft import LoraConfig, LoraModel, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora import Linear as LoraLinear
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from light_peft.config import PeftConfig
from light_peft.model import Backbone
from light_peft.model.cut import MatrixCut
from light_peft.peft_modules.kind import Adapter, PeftView, RatioSink
from light_peft.pruning.scores import output_norm_BT

NAME = "default"
PREFIX = "base_model.model."


class LoraView:
    """One LoRA module, W0 x + b + (alpha / r) B A dropout(x) (Hu et al., LoRA, arXiv 2106.09685)."""

    def __init__(self, layer: LoraLinear) -> None:
        self._layer = layer

    @property
    def rank(self) -> int:
        """Number of ranks."""
        return int(self._layer.r[NAME])

    def factors(self) -> tuple[nn.Parameter, nn.Parameter]:
        """Return A [R, I] and B [O, R]."""
        a, b = self._layer.lora_A[NAME], self._layer.lora_B[NAME]
        return a.get_parameter("weight"), b.get_parameter("weight")

    def increment_OI(self, ranks: Sequence[int] | None = None) -> torch.Tensor:
        """Return (alpha / r) B A, in fp32, of all ranks or of these."""
        a_RI, b_OR = (factor.detach().float() for factor in self.factors())
        index = list(range(self.rank) if ranks is None else ranks)
        return self._layer.scaling[NAME] * (b_OR[:, index] @ a_RI[index])

    def observe(self, sink: RatioSink, *, with_dropout: bool) -> tuple[RemovableHandle, ...]:
        """Give `sink` the increment that the forward pass computes anyway (or one without dropout)."""
        layer, base_norm_BT = self._layer, torch.empty(0)

        def after_base(_: nn.Module, __: Any, output_BTO: torch.Tensor) -> None:
            nonlocal base_norm_BT
            base_norm_BT = output_norm_BT(output_BTO)

        def after_b(_: nn.Module, __: Any, increment_BTO: torch.Tensor) -> None:
            sink(increment_BTO, base_norm_BT, layer.scaling[NAME])

        def after_layer(_: nn.Module, inputs: tuple[torch.Tensor, ...], __: torch.Tensor) -> None:
            a_RI, b_OR = (factor.detach() for factor in self.factors())
            hidden_BTR = nn.functional.linear(inputs[0].detach().to(a_RI.dtype), a_RI)
            increment_BTO = nn.functional.linear(hidden_BTR, b_OR)
            sink(increment_BTO, base_norm_BT, layer.scaling[NAME])

        base_hook = layer.base_layer.register_forward_hook(after_base)
        if with_dropout:
            return base_hook, layer.lora_B[NAME].register_forward_hook(after_b)
        return base_hook, layer.register_forward_hook(after_layer)


class Lora:
    """The LoRA kind."""

    def attach(self, model: PreTrainedModel, backbone: Backbone, config: PeftConfig) -> nn.Module:
        """Return `model` with a LoRA module on each target of each layer; the head is trained in full."""
        paths = backbone.paths_of(config.targets)
        lora_config = LoraConfig(
            r=config.r,
            lora_alpha=cast(int, config.alpha),
            lora_dropout=config.dropout,
            target_modules=paths,
            fan_in_fan_out=any(isinstance(model.get_submodule(path), Conv1D) for path in paths),
            modules_to_save=list(backbone.head_modules),
        )
        return get_peft_model(model, lora_config)

    def bare(self, model: nn.Module) -> PreTrainedModel:
        """Return the foundation model with the LoRA layers in it."""
        return cast(PreTrainedModel, cast(PeftModel, model).get_base_model())

    def views(self, model: nn.Module) -> dict[str, PeftView]:
        """Return the LoRA modules by the path of their Linear."""
        layers = self.bare(model).named_modules()
        return {name: LoraView(layer) for name, layer in layers if isinstance(layer, LoraLinear)}

    def take_off(self, model: nn.Module) -> tuple[PreTrainedModel, Adapter]:
        """Return the bare model and its adapter."""
        peft_model = cast(PeftModel, model)
        tensors = {name: tensor.clone() for name, tensor in get_peft_model_state_dict(peft_model).items()}
        config = copy.deepcopy(peft_model.peft_config[NAME])
        tuner: LoraModel = cast(LoraModel, peft_model.base_model)
        return cast(PreTrainedModel, tuner.unload()), Adapter(config, tensors)

    def cut(self, adapter: Adapter, ranks: dict[str, tuple[int, ...]], cuts: dict[str, MatrixCut]) -> Adapter:
        """Return the modules and ranks that stay; alpha follows the rank, so that the scaling stays."""
        tensors = {name: tensor for name, tensor in adapter.tensors.items() if ".lora_" not in name}
        for path, kept in ranks.items():
            index = torch.tensor(kept)
            a_RI, b_OR = (adapter.tensors[f"{PREFIX}{path}.lora_{factor}.weight"] for factor in "AB")
            cut = cuts.get(path, MatrixCut())
            tensors[f"{PREFIX}{path}.lora_A.weight"] = cut.of_input(a_RI[index.to(a_RI.device)])
            tensors[f"{PREFIX}{path}.lora_B.weight"] = cut.of_output(b_OR[:, index.to(b_OR.device)])
        return Adapter(describe_cut(adapter.config, {path: len(kept) for path, kept in ranks.items()}), tensors)

    def put_on(self, model: PreTrainedModel, adapter: Adapter) -> nn.Module:
        """Return `model` with `adapter` on it, ready to train."""
        peft_model = get_peft_model(model, adapter.config)
        result: Any = set_peft_model_state_dict(peft_model, adapter.tensors)
        assert not result.unexpected_keys, f"adapter tensors without a place: {result.unexpected_keys}"
        return peft_model


def describe_cut(config: LoraConfig, ranks: dict[str, int]) -> LoraConfig:
    """Return the configuration of an adapter that has `ranks` left on the named Linears and nothing else."""
    scaling = config.lora_alpha / config.r
    changed = {path: rank for path, rank in ranks.items() if rank != config.r}
    described = copy.deepcopy(config)
    described.target_modules = cast(list[str], set(ranks))
    described.rank_pattern = {f"^{re.escape(path)}": rank for path, rank in changed.items()}
    described.alpha_pattern = {f"^{re.escape(path)}": scaling * rank for path, rank in changed.items()}
    return described


KIND = Lora()
