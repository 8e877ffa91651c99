"""Small models for the contract tests: a new family adds one line to `TINY`."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    PretrainedConfig,
    PreTrainedModel,
    RobertaConfig,
)

from light_peft.config import PeftConfig
from light_peft.model import Backbone, describe
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
TINY: dict[str, Callable[[], PretrainedConfig]] = {
    "bert": lambda: BertConfig(**SIZES),
    "roberta": lambda: RobertaConfig(**SIZES, type_vocab_size=1),
}
TARGETS = ["query", "key", "value", "attn_output", "intermediate", "output"]


def tiny_model(family: str, seed: int = 0) -> PreTrainedModel:
    """Return a three-layer task model with random weights, biases included, in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForSequenceClassification.from_config(TINY[family]())
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                nn.init.normal_(parameter, std=0.2)
    return model.eval()


def tiny_batch(rows: int = 5, length: int = 12, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return token ids with real padding, and labels."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(2, SIZES["vocab_size"], (rows, length), generator=generator)
    lengths = torch.randint(3, length + 1, (rows,), generator=generator)
    mask = (torch.arange(length) < lengths.unsqueeze(1)).long()
    labels = torch.randint(0, 2, (rows,), generator=generator)
    return {"input_ids": ids * mask, "attention_mask": mask, "labels": labels}


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
    """Return the logits [B, classes] of a batch."""
    return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
