"""BERT, RoBERTa and ELECTRA: post-norm encoders that reshape heads with -1 and so follow their weights."""

from torch import nn
from transformers import PretrainedConfig

from light_peft.model.layout import attn_site, ffn_site, keep_heads
from light_peft.model.site import Site


class BertLike:
    """The layout shared by BERT, RoBERTa and ELECTRA.

    The pooler belongs to BERT's head: it is the counterpart of the dense layer inside the others'
    classification heads, which is trained as well.
    """

    model_types = ("bert", "roberta", "electra")
    head_modules = ("pooler", "classifier")

    def block(self, config: PretrainedConfig, layer: int) -> str:
        """Return the path of a transformer block."""
        return f"{config.model_type}.encoder.layer.{layer}"

    def max_tokens(self, config: PretrainedConfig) -> int:
        """Return the number of positions; RoBERTa's begin behind its padding token's number."""
        offset = config.pad_token_id + 1 if config.model_type == "roberta" else 0
        return int(config.max_position_embeddings) - offset

    def projections(self, config: PretrainedConfig, layer: int) -> dict[str, tuple[str, ...]]:
        """Return the paths of each projection."""
        block = self.block(config, layer)
        return {
            "query": (f"{block}.attention.self.query",),
            "key": (f"{block}.attention.self.key",),
            "value": (f"{block}.attention.self.value",),
            "attn_output": (f"{block}.attention.output.dense",),
            "intermediate": (f"{block}.intermediate.dense",),
            "output": (f"{block}.output.dense",),
        }

    def sites(self, config: PretrainedConfig, layer: int) -> tuple[Site, Site]:
        """Return the attention site and the FFN site of a layer."""
        paths = self.projections(config, layer)
        return attn_site(config, layer, paths), ffn_site(layer, paths, config.intermediate_size)

    def adjust(self, model: nn.Module, site: Site, num_kept: int) -> None:
        """Keep the attention module's own count true, or replace it where no head is left."""
        if site.kind == "attn":
            keep_heads(model, site, num_kept, counts=("num_attention_heads",))


FAMILY = BertLike()
