"""DistilBERT: a post-norm encoder whose attention holds its output projection."""

from torch import nn
from transformers import PretrainedConfig

from light_peft.model.layout import attn_site, ffn_site, keep_heads
from light_peft.model.site import Site


class DistilBert:
    """The layout of DistilBERT; its head has a dense layer of its own."""

    model_types = ("distilbert",)
    head_modules = ("pre_classifier", "classifier")

    def block(self, config: PretrainedConfig, layer: int) -> str:
        """Return the path of a transformer block."""
        return f"distilbert.transformer.layer.{layer}"

    def max_tokens(self, config: PretrainedConfig) -> int:
        """Return the number of positions."""
        return int(config.max_position_embeddings)

    def projections(self, config: PretrainedConfig, layer: int) -> dict[str, tuple[str, ...]]:
        """Return the paths of each projection."""
        block = self.block(config, layer)
        return {
            "query": (f"{block}.attention.q_lin",),
            "key": (f"{block}.attention.k_lin",),
            "value": (f"{block}.attention.v_lin",),
            "attn_output": (f"{block}.attention.out_lin",),
            "intermediate": (f"{block}.ffn.lin1",),
            "output": (f"{block}.ffn.lin2",),
        }

    def sites(self, config: PretrainedConfig, layer: int) -> tuple[Site, Site]:
        """Return the attention site and the FFN site of a layer."""
        paths = self.projections(config, layer)
        return attn_site(config, layer, paths), ffn_site(layer, paths, config.hidden_dim)

    def adjust(self, model: nn.Module, site: Site, num_kept: int) -> None:
        """Keep the attention module's own count true, or replace it where no head is left."""
        if site.kind == "attn":
            keep_heads(model, site, num_kept, counts=("n_heads",), kept=("out_lin",))


FAMILY = DistilBert()
