"""DeBERTa v2 and v3: encoders whose heads also attend to relative positions."""

from dataclasses import replace
from typing import ClassVar

from transformers import PretrainedConfig

from light_peft.model.family import Family
from light_peft.model.layout import Paths, head_width
from light_peft.model.site import Port, Site


class Deberta(Family):
    """The layout of DeBERTa v2, which v3 shares.

    The relative positions go through the query and key projections (`share_att_key`) or through
    projections of their own. The latter are divided into heads like the others and are cut with them,
    but they see positions, not tokens, and carry no PEFT.
    """

    model_types = ("deberta-v2",)
    head_modules = ("pooler", "classifier")
    block_path = "deberta.encoder.layer.{layer}"
    names: ClassVar[Paths] = {
        "query": ("attention.self.query_proj",),
        "key": ("attention.self.key_proj",),
        "value": ("attention.self.value_proj",),
        "attn_output": ("attention.output.dense",),
        "intermediate": ("intermediate.dense",),
        "output": ("output.dense",),
    }
    head_counts = ("num_attention_heads",)

    def attention(self, config: PretrainedConfig, layer: int) -> Site:
        """Return the attention site, the projections of positions among its producers."""
        site, attention = super().attention(config, layer), f"{self.block(config, layer)}.attention.self"
        positions = tuple(Port(f"{attention}.{name}", head_width(config)) for name in own_positions(config))
        return replace(site, producers=(*site.producers, *positions))


def own_positions(config: PretrainedConfig) -> list[str]:
    """Return the names of the projections that only relative positions go through."""
    if not getattr(config, "relative_attention", False) or getattr(config, "share_att_key", False):
        return []
    kinds = {"c2p": "pos_key_proj", "p2c": "pos_query_proj"}
    return [name for kind, name in kinds.items() if kind in (config.pos_att_type or [])]


FAMILY = Deberta()
