"""Llama and its relatives: gated decoders whose query heads share key/value heads."""

from torch import nn
from transformers import PretrainedConfig

from light_peft.model.layout import ffn_site, head_width, keep_heads
from light_peft.model.site import Port, Site


class LlamaLike:
    """The layout shared by Llama, Mistral, Qwen and Gemma.

    A group is a key/value head with its query heads, so that their ratio stays what the model code
    reads. Norms of queries and keys (Qwen 3, Gemma 3) are one head wide and shared by the heads.
    """

    model_types = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text")
    head_modules = ("score",)

    def block(self, config: PretrainedConfig, layer: int) -> str:
        """Return the path of a transformer block."""
        return f"model.layers.{layer}"

    def max_tokens(self, config: PretrainedConfig) -> int:
        """Return the number of positions that the model was made for."""
        return int(config.max_position_embeddings)

    def projections(self, config: PretrainedConfig, layer: int) -> dict[str, tuple[str, ...]]:
        """Return the paths of each projection."""
        block = self.block(config, layer)
        return {
            "query": (f"{block}.self_attn.q_proj",),
            "key": (f"{block}.self_attn.k_proj",),
            "value": (f"{block}.self_attn.v_proj",),
            "attn_output": (f"{block}.self_attn.o_proj",),
            "intermediate": (f"{block}.mlp.gate_proj", f"{block}.mlp.up_proj"),
            "output": (f"{block}.mlp.down_proj",),
        }

    def sites(self, config: PretrainedConfig, layer: int) -> tuple[Site, Site]:
        """Return the attention site and the FFN site of a layer."""
        paths, width, groups = self.projections(config, layer), head_width(config), config.num_key_value_heads
        group = config.num_attention_heads // groups * width
        sizes = {"query": group, "key": width, "value": width}
        producers = tuple(Port(paths[name][0], size) for name, size in sizes.items())
        attention = Site(layer, "attn", producers, Port(paths["attn_output"][0], group), groups)
        return attention, ffn_site(layer, paths, config.intermediate_size)

    def adjust(self, model: nn.Module, site: Site, num_kept: int) -> None:
        """Replace attention where no head is left; else it follows its weights."""
        if site.kind == "attn":
            keep_heads(model, site, num_kept, kept=("o_proj",))


FAMILY = LlamaLike()
