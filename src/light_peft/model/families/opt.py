"""OPT: decoders that reshape with the number of heads, pre-norm or (350m) post-norm."""

from typing import ClassVar

from transformers import PretrainedConfig

from light_peft.model.family import Family
from light_peft.model.layout import Paths


class Opt(Family):
    """The layout of OPT; what lies around the blocks, such as 350m's `project_in`, is never cut."""

    model_types = ("opt",)
    decoder = True
    block_path = "model.decoder.layers.{layer}"
    names: ClassVar[Paths] = {
        "query": ("self_attn.q_proj",),
        "key": ("self_attn.k_proj",),
        "value": ("self_attn.v_proj",),
        "attn_output": ("self_attn.out_proj",),
        "intermediate": ("fc1",),
        "output": ("fc2",),
    }
    head_counts = ("num_heads",)
    kept_without_heads = ("out_proj",)

    def num_neurons(self, config: PretrainedConfig) -> int:
        """Return the width of the FFN."""
        return int(config.ffn_dim)


FAMILY = Opt()
