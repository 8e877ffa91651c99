"""BERT and RoBERTa: post-norm encoders that reshape heads with -1 and so follow their weights."""

from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig

from light_peft.model.site import Port, Site


class NoHeads(nn.Module):
    """Self-attention that has lost every head: its consumer sees zero columns and adds its bias."""

    def forward(self, hidden_states: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, None]:
        """Return an output of width 0 for `hidden_states` [B, T, D]."""
        return hidden_states.new_zeros(*hidden_states.shape[:-1], 0), None


class BertLike:
    """The layout shared by BERT and RoBERTa.

    The pooler belongs to BERT's head: it is the counterpart of the dense layer inside RoBERTa's
    classification head, which is trained as well.
    """

    model_types = ("bert", "roberta")
    head_modules = ("pooler", "classifier")

    def block(self, config: PretrainedConfig, layer: int) -> str:
        """Return the path of a transformer block."""
        return f"{config.model_type}.encoder.layer.{layer}"

    def max_tokens(self, config: PretrainedConfig) -> int:
        """Return the number of positions; RoBERTa's begin behind its padding token's number."""
        offset = config.pad_token_id + 1 if config.model_type == "roberta" else 0
        return int(config.max_position_embeddings) - offset

    def projections(self, config: PretrainedConfig, layer: int) -> dict[str, str]:
        """Return the path of each projection."""
        block = self.block(config, layer)
        return {
            "query": f"{block}.attention.self.query",
            "key": f"{block}.attention.self.key",
            "value": f"{block}.attention.self.value",
            "attn_output": f"{block}.attention.output.dense",
            "intermediate": f"{block}.intermediate.dense",
            "output": f"{block}.output.dense",
        }

    def sites(self, config: PretrainedConfig, layer: int) -> tuple[Site, Site]:
        """Return the attention site and the FFN site of a layer."""
        path = self.projections(config, layer)
        width = config.hidden_size // config.num_attention_heads
        heads = tuple(Port(path[name], width) for name in ("query", "key", "value"))
        return (
            Site(layer, "attn", heads, Port(path["attn_output"], width), config.num_attention_heads),
            Site(layer, "ffn", (Port(path["intermediate"], 1),), Port(path["output"], 1), config.intermediate_size),
        )

    def adjust(self, model: nn.Module, site: Site, num_kept: int) -> None:
        """Keep the attention module's own counts true, or replace it where no head is left."""
        if site.kind != "attn":
            return
        parent_path, _, name = site.producers[0].path.rsplit(".", 1)[0].rpartition(".")
        parent = model.get_submodule(parent_path)
        if num_kept == 0:
            setattr(parent, name, NoHeads())
            return
        attention: Any = parent.get_submodule(name)
        attention.num_attention_heads = num_kept
        attention.all_head_size = num_kept * site.consumer.size


FAMILY = BertLike()
