"""GPT-NeoX and Pythia: decoders with one fused projection that holds query, key and value head by head."""

from typing import ClassVar

from transformers import PretrainedConfig

from light_peft.model.family import Family
from light_peft.model.layout import Paths, fused_attn_site, head_width
from light_peft.model.site import Port, Site

FUSED = ("attention.query_key_value",)


class GptNeox(Family):
    """The layout of GPT-NeoX: a head is 3 * head width neighbouring rows of the fused projection."""

    model_types = ("gpt_neox",)
    decoder = True
    block_path = "gpt_neox.layers.{layer}"
    names: ClassVar[Paths] = {
        **dict.fromkeys(("query", "key", "value"), FUSED),
        "attn_output": ("attention.dense",),
        "intermediate": ("mlp.dense_h_to_4h",),
        "output": ("mlp.dense_4h_to_h",),
    }
    kept_without_heads = ("dense",)

    def attention(self, config: PretrainedConfig, layer: int) -> Site:
        """Return the attention site, whose producer is the fused projection."""
        paths = self.projections(config, layer)
        return fused_attn_site(config, layer, paths, Port(paths["query"][0], 3 * head_width(config)))


FAMILY = GptNeox()
