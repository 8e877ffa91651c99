"""DeBERTa v2 and v3: encoders whose heads also attend to relative positions."""

from dataclasses import replace

from torch import nn
from transformers import PretrainedConfig

from light_peft.model.layout import attn_site, ffn_site, head_width, keep_heads
from light_peft.model.site import Port, Site


class Deberta:
    """The layout of DeBERTa v2, which v3 shares.

    The relative positions go through the query and key projections (`share_att_key`) or through
    projections of their own. The latter are divided into heads like the others and are cut with them,
    but they see positions, not tokens, and carry no PEFT.
    """

    model_types = ("deberta-v2",)
    head_modules = ("pooler", "classifier")

    def block(self, config: PretrainedConfig, layer: int) -> str:
        """Return the path of a transformer block."""
        return f"deberta.encoder.layer.{layer}"

    def max_tokens(self, config: PretrainedConfig) -> int:
        """Return the number of positions."""
        return int(config.max_position_embeddings)

    def projections(self, config: PretrainedConfig, layer: int) -> dict[str, tuple[str, ...]]:
        """Return the paths of each projection."""
        block = self.block(config, layer)
        return {
            "query": (f"{block}.attention.self.query_proj",),
            "key": (f"{block}.attention.self.key_proj",),
            "value": (f"{block}.attention.self.value_proj",),
            "attn_output": (f"{block}.attention.output.dense",),
            "intermediate": (f"{block}.intermediate.dense",),
            "output": (f"{block}.output.dense",),
        }

    def sites(self, config: PretrainedConfig, layer: int) -> tuple[Site, Site]:
        """Return the attention site and the FFN site of a layer."""
        paths = self.projections(config, layer)
        site, attention = attn_site(config, layer, paths), f"{self.block(config, layer)}.attention.self"
        positions = tuple(Port(f"{attention}.{name}", head_width(config)) for name in own_positions(config))
        site = replace(site, producers=(*site.producers, *positions))
        return site, ffn_site(layer, paths, config.intermediate_size)

    def adjust(self, model: nn.Module, site: Site, num_kept: int) -> None:
        """Set the number of heads that the attention module reshapes with, or replace it where none is left."""
        if site.kind == "attn":
            keep_heads(model, site, num_kept, counts=("num_attention_heads",))


def own_positions(config: PretrainedConfig) -> list[str]:
    """Return the names of the projections that only relative positions go through."""
    if not getattr(config, "relative_attention", False) or getattr(config, "share_att_key", False):
        return []
    kinds = {"c2p": "pos_key_proj", "p2c": "pos_query_proj"}
    return [name for kind, name in kinds.items() if kind in (config.pos_att_type or [])]


FAMILY = Deberta()
