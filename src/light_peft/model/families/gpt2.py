"""GPT-2: a decoder with one fused projection [query | key | value] and weights stored as [I, O]."""

from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig

from light_peft.model.layout import ffn_site, head_width, keep_heads, replace
from light_peft.model.site import Port, Site


class Gpt2:
    """The layout of GPT-2: a head is its rows in each of the three sections of the fused projection."""

    model_types = ("gpt2",)
    head_modules = ("score",)

    def block(self, config: PretrainedConfig, layer: int) -> str:
        """Return the path of a transformer block."""
        return f"transformer.h.{layer}"

    def max_tokens(self, config: PretrainedConfig) -> int:
        """Return the number of positions."""
        return int(config.max_position_embeddings)

    def projections(self, config: PretrainedConfig, layer: int) -> dict[str, tuple[str, ...]]:
        """Return the paths of each projection; query, key and value are one."""
        block = self.block(config, layer)
        fused = (f"{block}.attn.c_attn",)
        return {
            "query": fused,
            "key": fused,
            "value": fused,
            "attn_output": (f"{block}.attn.c_proj",),
            "intermediate": (f"{block}.mlp.c_fc",),
            "output": (f"{block}.mlp.c_proj",),
        }

    def sites(self, config: PretrainedConfig, layer: int) -> tuple[Site, Site]:
        """Return the attention site and the FFN site of a layer."""
        paths, width = self.projections(config, layer), head_width(config)
        fused, consumer = Port(paths["query"][0], width, sections=3), Port(paths["attn_output"][0], width)
        attention = Site(layer, "attn", (fused,), consumer, config.num_attention_heads)
        return attention, ffn_site(layer, paths, config.n_inner or 4 * config.hidden_size)

    def adjust(self, model: nn.Module, site: Site, num_kept: int) -> None:
        """Set the width of a section and the number of heads, or replace what cannot be empty."""
        if num_kept == 0:
            replace(model, site.consumer.path, only_bias(model.get_submodule(site.consumer.path)))
        if site.kind == "attn":
            if num_kept:
                attention: Any = model.get_submodule(site.producers[0].path.rpartition(".")[0])
                attention.split_size = num_kept * site.consumer.size
            keep_heads(model, site, num_kept, counts=("num_heads",), kept=("c_proj", "resid_dropout"))


def only_bias(consumer: nn.Module) -> nn.Linear:
    """Return a Linear without inputs that adds the bias of `consumer`: a Conv1D cannot reshape what is empty."""
    bias = consumer.get_parameter("bias")
    linear = nn.Linear(1, len(bias), device="meta")
    linear.in_features = 0
    linear.weight = nn.Parameter(torch.empty(len(bias), 0, dtype=bias.dtype, device=bias.device), bias.requires_grad)
    linear.bias = bias
    return linear


FAMILY = Gpt2()
