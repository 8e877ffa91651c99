"""DistilBERT: a post-norm encoder whose attention holds its output projection."""

from typing import ClassVar

from transformers import PretrainedConfig

from light_peft.model.family import Family
from light_peft.model.layout import Paths


class DistilBert(Family):
    """The layout of DistilBERT; its head has a dense layer of its own."""

    model_types = ("distilbert",)
    head_modules = ("pre_classifier", "classifier")
    block_path = "distilbert.transformer.layer.{layer}"
    names: ClassVar[Paths] = {
        "query": ("attention.q_lin",),
        "key": ("attention.k_lin",),
        "value": ("attention.v_lin",),
        "attn_output": ("attention.out_lin",),
        "intermediate": ("ffn.lin1",),
        "output": ("ffn.lin2",),
    }
    head_counts = ("n_heads",)
    kept_without_heads = ("out_lin",)

    def num_neurons(self, config: PretrainedConfig) -> int:
        """Return the width of the FFN."""
        return int(config.hidden_dim)


FAMILY = DistilBert()
