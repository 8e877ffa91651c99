"""Small models for the contract tests: a new family, or a variant of one, adds one line to `TINY`."""

from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel

from light_peft.config import PeftConfig
from light_peft.model import Backbone, describe
from light_peft.model.families import all_families
from light_peft.model.head import CLASSES, CLASSIFICATION, LANGUAGE_MODEL
from light_peft.peft_modules import peft_kind

SIZES: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
    "initializer_range": 0.3,
}
GROUPED: dict[str, Any] = {**SIZES, "num_key_value_heads": 2}
TINY: dict[str, dict[str, Any]] = {
    "bert": SIZES,
    "deberta-v2": SIZES
    | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "max_relative_positions": 8, "conv_kernel_size": 3},
    "deberta-v2 shared": SIZES
    | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 6, "share_att_key": True}
    | {"norm_rel_ebd": "layer_norm", "position_biased_input": False, "type_vocab_size": 0},
    "distilbert": SIZES | {"hidden_dim": 40},
    "electra": SIZES | {"embedding_size": 16},
    "gemma": GROUPED | {"head_dim": 8},
    "gemma2": GROUPED | {"head_dim": 8, "sliding_window": 6},
    "gemma3_text": GROUPED | {"head_dim": 8, "sliding_window": 6, "layer_types": ["sliding_attention"] * 3},
    "gpt2": SIZES | {"n_inner": 40},
    "gpt_neox": SIZES | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.34}},
    "llama": GROUPED,
    "llama ungrouped": SIZES | {"attention_bias": True, "mlp_bias": True},
    "mistral": GROUPED | {"sliding_window": 6},
    "opt": SIZES | {"ffn_dim": 40, "word_embed_proj_dim": 24},
    "opt post-norm": SIZES | {"ffn_dim": 40, "word_embed_proj_dim": 16, "do_layer_norm_before": False},
    "qwen2": GROUPED,
    "qwen3": GROUPED | {"head_dim": 8},
    "roberta": SIZES | {"type_vocab_size": 1},
}
"""What is asked of each model's configuration; the name begins with its `model_type`."""
DECODERS = sorted(family for family in TINY if all_families()[family.split()[0]].decoder)
SPEAKS = " speaks"
"""Behind the name of a decoder: with its language-model head, not as a classifier."""
TARGETS = ["query", "key", "value", "attn_output", "intermediate", "output"]


def tiny_config(family: str) -> PretrainedConfig:
    """Return the configuration of a three-layer model whose heads and neurons are few."""
    return AutoConfig.for_model(family.split()[0], **TINY[family.removesuffix(SPEAKS)])


def tiny_model(family: str, seed: int = 0) -> PreTrainedModel:
    """Return a three-layer model, a classifier unless it speaks, everything in it random, in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = LANGUAGE_MODEL if family.endswith(SPEAKS) else CLASSIFICATION
        model: PreTrainedModel = CLASSES[head].from_config(tiny_config(family))
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                nn.init.normal_(parameter, std=0.2)
            elif parameter.ndim == 1:
                nn.init.normal_(parameter, mean=1.0, std=0.2)
    return model.eval()


def tiny_batch(rows: int = 5, length: int = 12, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return token ids with real padding, and labels."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(2, SIZES["vocab_size"], (rows, length), generator=generator)
    lengths = torch.randint(3, length + 1, (rows,), generator=generator)
    mask = (torch.arange(length) < lengths.unsqueeze(1)).long()
    labels = torch.randint(0, 2, (rows,), generator=generator)
    return {"input_ids": ids * mask, "attention_mask": mask, "labels": labels}


def batch_of(family: str) -> dict[str, torch.Tensor]:
    """Return a batch with the labels that a family's head takes: classes, or the next tokens."""
    batch = tiny_batch()
    if family.endswith(SPEAKS):
        batch["labels"] = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    return batch


def with_random_lora(model: PreTrainedModel, dropout: float = 0.0) -> tuple[nn.Module, Backbone]:
    """Return `model` with LoRA of rank 4 whose B is not zero, in eval mode, and its backbone."""
    backbone, lora = describe(model), peft_kind("lora")
    config = PeftConfig(kind="lora", r=4, alpha=6.0, dropout=dropout, targets=TARGETS)
    peft_model = lora.attach(model, backbone, config)
    generator = torch.Generator().manual_seed(1)
    for view in lora.views(peft_model).values():
        for factor in view.factors():
            factor.data = torch.randn(factor.shape, generator=generator) * 0.3
    return peft_model.eval(), backbone


@torch.no_grad()
def logits(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the logits [B, classes] of a batch, or [B, T, vocabulary]."""
    return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
