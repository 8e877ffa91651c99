"""GPT-NeoX and Pythia: decoders with one fused projection that holds query, key and value head by head."""

from torch import nn
from transformers import PretrainedConfig

from light_peft.model.layout import ffn_site, head_width, keep_heads
from light_peft.model.site import Port, Site


class GptNeox:
    """The layout of GPT-NeoX: a head is 3 * head width neighbouring rows of the fused projection."""

    model_types = ("gpt_neox",)
    head_modules = ("score",)

    def block(self, config: PretrainedConfig, layer: int) -> str:
        """Return the path of a transformer block."""
        return f"gpt_neox.layers.{layer}"

    def max_tokens(self, config: PretrainedConfig) -> int:
        """Return the number of positions."""
        return int(config.max_position_embeddings)

    def projections(self, config: PretrainedConfig, layer: int) -> dict[str, tuple[str, ...]]:
        """Return the paths of each projection; query, key and value are one."""
        block = self.block(config, layer)
        fused = (f"{block}.attention.query_key_value",)
        return {
            "query": fused,
            "key": fused,
            "value": fused,
            "attn_output": (f"{block}.attention.dense",),
            "intermediate": (f"{block}.mlp.dense_h_to_4h",),
            "output": (f"{block}.mlp.dense_4h_to_h",),
        }

    def sites(self, config: PretrainedConfig, layer: int) -> tuple[Site, Site]:
        """Return the attention site and the FFN site of a layer."""
        paths, width = self.projections(config, layer), head_width(config)
        fused, consumer = Port(paths["query"][0], 3 * width), Port(paths["attn_output"][0], width)
        attention = Site(layer, "attn", (fused,), consumer, config.num_attention_heads)
        return attention, ffn_site(layer, paths, config.intermediate_size)

    def adjust(self, model: nn.Module, site: Site, num_kept: int) -> None:
        """Replace attention where no head is left; else it follows its weights."""
        if site.kind == "attn":
            keep_heads(model, site, num_kept, kept=("dense",))


FAMILY = GptNeox()
