"""Llama and its relatives: gated decoders whose query heads share key/value heads."""

from typing import ClassVar

from transformers import PretrainedConfig

from light_peft.model.family import Family
from light_peft.model.layout import Paths, head_width
from light_peft.model.site import Port, Site


class LlamaLike(Family):
    """The layout shared by Llama, Mistral, Qwen and Gemma.

    A group is a key/value head with its query heads, so that their ratio stays what the model code
    reads. Norms of queries and keys (Qwen 3, Gemma 3) are one head wide and shared by the heads.
    """

    model_types = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text")
    decoder = True
    block_path = "model.layers.{layer}"
    names: ClassVar[Paths] = {
        "query": ("self_attn.q_proj",),
        "key": ("self_attn.k_proj",),
        "value": ("self_attn.v_proj",),
        "attn_output": ("self_attn.o_proj",),
        "intermediate": ("mlp.gate_proj", "mlp.up_proj"),
        "output": ("mlp.down_proj",),
    }
    kept_without_heads = ("o_proj",)

    def attention(self, config: PretrainedConfig, layer: int) -> Site:
        """Return the attention site, divided into key/value heads with their query heads."""
        paths, width, groups = self.projections(config, layer), head_width(config), config.num_key_value_heads
        group = config.num_attention_heads // groups * width
        sizes = {"query": group, "key": width, "value": width}
        producers = tuple(Port(paths[name][0], size) for name, size in sizes.items())
        return Site(layer, "attn", producers, Port(paths["attn_output"][0], group), groups)


FAMILY = LlamaLike()
