"""GPT-2: a decoder with one fused projection [query | key | value] and weights stored as [I, O]."""

from typing import Any, ClassVar

import torch
from torch import nn
from transformers import PretrainedConfig

from light_peft.model.family import Family
from light_peft.model.layout import Paths, fused_attn_site, head_width, replace
from light_peft.model.site import Port, Site

FUSED = ("attn.c_attn",)


class Gpt2(Family):
    """The layout of GPT-2: a head is its rows in each of the three sections of the fused projection."""

    model_types = ("gpt2",)
    decoder = True
    block_path = "transformer.h.{layer}"
    names: ClassVar[Paths] = {
        **dict.fromkeys(("query", "key", "value"), FUSED),
        "attn_output": ("attn.c_proj",),
        "intermediate": ("mlp.c_fc",),
        "output": ("mlp.c_proj",),
    }
    head_counts = ("num_heads",)
    kept_without_heads = ("c_proj", "resid_dropout")

    def num_neurons(self, config: PretrainedConfig) -> int:
        """Return the width of the FFN."""
        return int(config.n_inner or 4 * config.hidden_size)

    def attention(self, config: PretrainedConfig, layer: int) -> Site:
        """Return the attention site, whose producer is the fused projection."""
        paths = self.projections(config, layer)
        return fused_attn_site(config, layer, paths, Port(paths["query"][0], head_width(config), sections=3))

    def adjust(self, model: nn.Module, site: Site, num_kept: int) -> None:
        """Set the width of a section and the number of heads, or replace what cannot be empty."""
        if num_kept == 0:
            replace(model, site.consumer.path, only_bias(model.get_submodule(site.consumer.path)))
        elif site.kind == "attn":
            attention: Any = model.get_submodule(site.producers[0].path.rpartition(".")[0])
            attention.split_size = num_kept * site.consumer.size
        super().adjust(model, site, num_kept)


def only_bias(consumer: nn.Module) -> nn.Linear:
    """Return a Linear without inputs that adds the bias of `consumer`: a Conv1D cannot reshape what is empty."""
    bias = consumer.get_parameter("bias")
    linear = nn.Linear(1, len(bias), device="meta")
    linear.in_features = 0
    linear.weight = nn.Parameter(torch.empty(len(bias), 0, dtype=bias.dtype, device=bias.device), bias.requires_grad)
    linear.bias = bias
    return linear


FAMILY = Gpt2()
