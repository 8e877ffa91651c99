"""BERT, RoBERTa and ELECTRA: post-norm encoders that reshape heads with -1 and so follow their weights."""

from typing import ClassVar

from transformers import PretrainedConfig

from light_peft.model.family import Family
from light_peft.model.layout import Paths


class BertLike(Family):
    """The layout shared by BERT, RoBERTa and ELECTRA.

    The pooler belongs to BERT's head: it is the counterpart of the dense layer inside the others'
    classification heads, which is trained as well.
    """

    model_types = ("bert", "roberta", "electra")
    head_modules = ("pooler", "classifier")
    block_path = "{model_type}.encoder.layer.{layer}"
    names: ClassVar[Paths] = {
        "query": ("attention.self.query",),
        "key": ("attention.self.key",),
        "value": ("attention.self.value",),
        "attn_output": ("attention.output.dense",),
        "intermediate": ("intermediate.dense",),
        "output": ("output.dense",),
    }
    head_counts = ("num_attention_heads",)

    def max_tokens(self, config: PretrainedConfig) -> int:
        """Return the number of positions; RoBERTa's begin behind its padding token's number."""
        offset = config.pad_token_id + 1 if config.model_type == "roberta" else 0
        return int(config.max_position_embeddings) - offset


FAMILY = BertLike()
