"""LoRA through HF peft, with rank-stabilised scaling and weight decomposition (DoRA) as switches.

Shape suffixes: B batch, T tokens, I input, O output, R rank.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from peft import LoraConfig
from peft.tuners.lora import Linear as LoraLinear
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from light_peft.config import Config, PeftConfig
from light_peft.model import Backbone
from light_peft.model.cut import MatrixCut, weight_OI
from light_peft.peft_modules.difference import observe_difference
from light_peft.peft_modules.hf import NAME, PREFIX, HfKind, Lay
from light_peft.peft_modules.kind import Adapter, PeftView, RatioSink
from light_peft.pruning.scores import output_norm_BT, product_norm_BT

A, B, MAGNITUDE = "lora_A.weight", "lora_B.weight", "lora_magnitude_vector"


class LoraView:
    """One LoRA module, W0 x + b + s B A dropout(x) (Hu et al., LoRA, arXiv 2106.09685)."""

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

    def increment_OI(self, ranks: Sequence[int] | None = None) -> torch.Tensor | None:
        """Return s B A, in fp32, of all ranks or of these."""
        a_RI, b_OR = (factor.detach().float() for factor in self.factors())
        index = list(range(self.rank) if ranks is None else ranks)
        return self._layer.scaling[NAME] * (b_OR[:, index] @ a_RI[index])

    def observe(self, sink: RatioSink, *, with_dropout: bool) -> tuple[RemovableHandle, ...]:
        """Give `sink` the norm of s B h; h is the A x that the forward pass computes anyway, or one without dropout."""
        layer, base_norm_BT = self._layer, torch.empty(0)

        def after_base(_: nn.Module, __: Any, output_BTO: torch.Tensor) -> None:
            nonlocal base_norm_BT
            if sink.is_open:
                base_norm_BT = output_norm_BT(output_BTO)

        def after_a(_: nn.Module, __: Any, hidden_BTR: torch.Tensor) -> None:
            if sink.is_open:
                sink(product_norm_BT(hidden_BTR, self.factors()[1]) * layer.scaling[NAME], base_norm_BT)

        def after_layer(_: nn.Module, inputs: tuple[torch.Tensor, ...], __: torch.Tensor) -> None:
            if sink.is_open:
                a_RI = self.factors()[0].detach()
                after_a(layer, inputs, nn.functional.linear(inputs[0].detach().to(a_RI.dtype), a_RI))

        base_hook = layer.base_layer.register_forward_hook(after_base)
        if with_dropout:
            return base_hook, layer.lora_A[NAME].register_forward_hook(after_a)
        return base_hook, layer.register_forward_hook(after_layer)


class DoraView(LoraView):
    """One DoRA module, m (W0 + s B A) x / ||W0 + s B A|| + b (Liu et al., DoRA, arXiv 2402.09353)."""

    def increment_OI(self, ranks: Sequence[int] | None = None) -> None:
        """Return that it is no sum of ranks: the norm is of all of them."""

    def observe(self, sink: RatioSink, *, with_dropout: bool) -> tuple[RemovableHandle, ...]:
        """Give `sink` the difference that the layer makes: the magnitude changes the base's part too."""
        return observe_difference(self._layer, sink, with_dropout=with_dropout)


class Lora(HfKind):
    """The LoRA kind."""

    settings = frozenset({"r", "alpha", "dropout", "targets", "use_rslora", "use_dora"})
    can_prune = frozenset({"module", "rank"})
    layer_type = LoraLinear

    def refusals(self, config: Config) -> Iterator[str]:
        """Yield a refit, which would change the norm that DoRA's magnitude has just been fitted to."""
        if config.prune.method != "none" and config.prune.refit and config.peft.use_dora:
            yield "prune.refit=true: peft.use_dora=true divides by the norm of the weight; set prune.refit=false"

    def configure(self, model: PreTrainedModel, backbone: Backbone, config: PeftConfig) -> LoraConfig:
        """Return the configuration for HF peft."""
        return LoraConfig(
            r=config.r,
            lora_alpha=cast(int, config.alpha),
            lora_dropout=config.dropout,
            use_rslora=config.use_rslora,
            use_dora=config.use_dora,
            target_modules=backbone.paths_of(config.targets),
            modules_to_save=list(backbone.head_modules),
        )

    def lays(self, config: LoraConfig, path: str) -> Mapping[str, Lay]:
        """Return how A [R, I], B [O, R] and DoRA's magnitude [O] lie."""
        lays = {A: Lay(rank=0, input=True), B: Lay(output=0, rank=1)}
        return lays | {MAGNITUDE: Lay(output=0)} if config.use_dora else lays

    def view(self, layer: nn.Module) -> PeftView:
        """Return the view of one layer."""
        assert isinstance(layer, LoraLinear)
        return DoraView(layer) if layer.use_dora[NAME] else LoraView(layer)

    def describe_cut(self, config: LoraConfig, ranks: dict[str, int]) -> LoraConfig:
        """Return the configuration of what is left; alpha follows the rank, so that the scaling stays."""
        described: LoraConfig = super().describe_cut(config, ranks)
        changed = {path: rank for path, rank in ranks.items() if rank != config.r}
        described.rank_pattern = {f"^{re.escape(path)}": rank for path, rank in changed.items()}
        described.alpha_pattern = {
            f"^{re.escape(path)}": scaling_of(config) * _divisor(config, rank) for path, rank in changed.items()
        }
        return described

    def cut(
        self, adapter: Adapter, model: PreTrainedModel, ranks: dict[str, tuple[int, ...]], cuts: dict[str, MatrixCut]
    ) -> Adapter:
        """Return the modules and ranks that stay; DoRA's magnitude follows the norm that it is divided by."""
        left = super().cut(adapter, model, ranks, cuts)
        for path, kept in ranks.items() if adapter.config.use_dora else ():
            a_RI = adapter.tensors[f"{PREFIX}{path}.{A}"][list(kept)]
            dense_OI = weight_OI(model.get_submodule(path)).to(a_RI)
            cut_a_RI, cut_b_OR, magnitude_O = (left.tensors[f"{PREFIX}{path}.{name}"] for name in (A, B, MAGNITUDE))
            cut, scaling = cuts.get(path, MatrixCut()), scaling_of(adapter.config)
            rows_OI = cut.of_output(dense_OI)
            before_O = torch.linalg.vector_norm(rows_OI + scaling * cut_b_OR @ a_RI, dim=1)
            after_O = torch.linalg.vector_norm(cut.of_input(rows_OI) + scaling * cut_b_OR @ cut_a_RI, dim=1)
            left.tensors[f"{PREFIX}{path}.{MAGNITUDE}"] = magnitude_O * after_O / before_O
        return left


def scaling_of(config: LoraConfig) -> float:
    """Return the factor of the increment: alpha / r, or alpha / sqrt(r) (Kalajdzievski, arXiv 2312.03732)."""
    return float(config.lora_alpha / _divisor(config, config.r))


def _divisor(config: LoraConfig, rank: int) -> float:
    return math.sqrt(rank) if config.use_rslora else rank


KIND = Lora()
