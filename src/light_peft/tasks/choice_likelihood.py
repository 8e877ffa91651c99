"""A choice by the likelihood that a decoder gives to each candidate, without any head of its own.

Shape suffixes: B batch, N tokens that are scored.
"""

from typing import Any

import datasets
import numpy as np
import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from light_peft.data.batches import Batch
from light_peft.data.text import map_quietly
from light_peft.model.head import LANGUAGE_MODEL
from light_peft.tasks.choice import CHOICES, Choice
from light_peft.tasks.continuation import NUM_TOKENS, Continuations, collator, log_probs, mean_loss, num_scored
from light_peft.tasks.formulation import EXAMPLE, LABEL, Collate
from light_peft.tasks.reading import prompts_of


class ChoiceByLikelihood(Choice):
    """A decoder compares candidates by how likely they follow the prompt (Brown et al. 2020, GPT-3, section 2.4).

    The log-likelihood is divided by characters, tokens or nothing, as `task.choice.length_norm` says.
    """

    heads = (LANGUAGE_MODEL,)

    def features(
        self, examples: datasets.Dataset, tokenizer: PreTrainedTokenizerBase, *, max_length: int, training: bool
    ) -> datasets.Dataset:
        """Return one feature per candidate; in training one per example, of its first right one."""
        kept, encoder = self.read(examples, training=training), Continuations(tokenizer, max_length)

        def encode(batch: dict[str, list[Any]], rows: list[int]) -> dict[str, list[Any]]:
            choices = batch[CHOICES]
            if training:
                choices = [[own[right[0]]] for own, right in zip(choices, batch[LABEL], strict=True)]
            columns = encoder.columns(encoder.encode(prompts_of(self.task, batch), choices))
            example = [kept[row] for row, own in zip(rows, choices, strict=True) for _ in own]
            return columns | {EXAMPLE: example}

        features = map_quietly(examples.select(kept), encode)
        encoder.warn("candidates were")
        return features

    def collate(self, tokenizer: PreTrainedTokenizerBase, *, training: bool, **padding: Any) -> Collate:
        """Return what makes a batch of prompts with candidates."""
        return collator(tokenizer, **padding)

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Return minus the mean log-probability of the tokens of the right candidates."""
        return mean_loss(model, batch)

    def weight(self, batch: Batch) -> torch.Tensor:
        """Return the number of tokens of the right candidates."""
        return num_scored(batch)

    def outputs(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the log-likelihood of each candidate [B], the sum over its tokens."""
        log_probs_BN, _ = log_probs(model, batch)
        return log_probs_BN.sum(dim=1)

    def values(self, outputs: np.ndarray, features: datasets.Dataset, examples: datasets.Dataset) -> np.ndarray:
        """Return the log-likelihoods [N], divided by the lengths."""
        if self.task.choice.length_norm == "tokens":
            return outputs / np.asarray(features[NUM_TOKENS][:])
        if self.task.choice.length_norm == "characters":
            return outputs / np.asarray([len(candidate.strip()) for own in examples[CHOICES][:] for candidate in own])
        return outputs
