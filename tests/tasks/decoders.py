"""Small tokenizers and language models for tests of what decoders read and write."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from light_peft.config import ChoiceConfig, GenerationConfig, TaskConfig
from light_peft.data.batches import eval_loader, padding_words
from light_peft.data.table import Table
from light_peft.evaluation.predict import predict
from light_peft.meter import PhaseCost
from light_peft.tasks.formulation import Formulation
from model_cases import tiny_config

WORDS = [
    *("<pad>", "<s>", "</s>", "<unk>", "question", ":", "answer", "is", "the", "sky", "sea", "grass", "?", "blue"),
    *("green", "red", "yes", "no", "maybe", "not", "at", "all", "a", "b", "c", "d", "e", "f", "g", "h", "i"),
]


def word_tokenizer(**special: str | None) -> PreTrainedTokenizerFast:
    """Return a tokenizer of whole words that begins every text with <s>."""
    backend = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
    )
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"} | special
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, model_input_names=["input_ids", "attention_mask"], **tokens
    )


def letter_tokenizer(*merges: tuple[str, str]) -> PreTrainedTokenizerFast:
    """Return a tokenizer of letters, spaces and new lines, of which some neighbours are merged; it adds nothing."""
    letters = [*"abcdefghijklmnopqrstuvwxyz: \n"]
    vocabulary = {token: number for number, token in enumerate(["<pad>", *letters, *(a + b for a, b in merges)])}
    backend = Tokenizer(models.BPE(vocabulary, list(merges)))
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, model_input_names=["input_ids", "attention_mask"], pad_token="<pad>"
    )


def tiny_decoder(family: str = "llama", seed: int = 0) -> PreTrainedModel:
    """Return a three-layer language model with random weights, in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(tiny_config(family))
    return model.eval()


def choice_task(**settings: Any) -> TaskConfig:
    choice = ChoiceConfig(**{name: settings.pop(name) for name in [*settings] if hasattr(ChoiceConfig(), name)})
    known = {"name": "tiny", "formulation": "choice", "text": ["question"], "metrics": ["accuracy"]}
    return TaskConfig(**known | {"primary_metric": "accuracy", "choice": choice} | settings)


def generation_task(max_new_tokens: int = 4, **settings: Any) -> TaskConfig:
    known = {"name": "tiny", "formulation": "generation", "text": ["question"], "metrics": ["exact_match"]}
    known |= {"primary_metric": "exact_match", "label": "answers", "max_length": 32}
    return TaskConfig(**known | {"generation": GenerationConfig(max_new_tokens)} | settings)


def table(**columns: Sequence[Any]) -> Table:
    return Table(
        "dev.jsonl",
        {name: list(column) for name, column in columns.items()},
        range(1, 1 + len(next(iter(columns.values())))),
    )


def outputs_of(formulation: Formulation, model: nn.Module, features: Any, tokenizer: Any, size: int = 4) -> np.ndarray:
    """Return the outputs for all features, in padded batches of features of similar length."""
    collate = formulation.collate(tokenizer, training=False, **padding_words("dynamic", 0))
    loader = eval_loader(features, collate, batch_size=size, padding="dynamic")
    return predict(formulation, model, loader, Accelerator(cpu=True), cost=PhaseCost())


def train(
    formulation: Formulation, model: nn.Module, features: Any, tokenizer: Any, *, steps: int, rate: float
) -> list[float]:
    """Train on all features in one batch; return the losses."""
    kept = features.remove_columns([name for name in features.column_names if name.startswith("_")])
    batch = formulation.collate(tokenizer, training=True, **padding_words("dynamic", 0))(list(kept))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = formulation.loss(model, batch)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses
