"""What every formulation of a task must be able to do.

A task is a YAML: columns, labels, metrics, files. Its formulation is the code behind it, one small file each, and
goes five steps: rows of a file -> examples -> features (what a model reads) -> outputs -> answers. An example may
become several features: the candidates of a choice, the windows of a long text.

Shape suffixes: B batch, T tokens.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import datasets
import numpy as np
import torch
from torch import nn
from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase

from light_peft.config import TaskConfig
from light_peft.data.batches import EXAMPLE, LENGTH, Batch, Collate
from light_peft.data.table import Table

__all__ = [
    "EXAMPLE",
    "GROUP",
    "IDX",
    "LABEL",
    "LENGTH",
    "NO_ANSWER",
    "Answers",
    "Collate",
    "Formulation",
    "model_loss",
    "num_rows",
]

NO_ANSWER = "no_answer_probability"
"""Name among the extras of answers: the probability that a question has none."""
LABEL, IDX, GROUP = "label", "idx", "group"
"""Columns of the examples: the label; what identifies an example in predictions; what it is scored together with."""


@dataclass(frozen=True)
class Answers:
    """What a model answers to every example of a split, in their order.

    Attributes:
        predictions: Class numbers, figures or texts.
        references: What is right, in the same form, or for texts the list of all accepted ones; None where
            labels are hidden.
        groups: What each example is scored together with, if the task has groups.
        written: How the benchmark writes each prediction, where that is an example's own matter.
        extras: Further figures per example by name, such as the odds that there is no answer.
    """

    predictions: list[Any]
    references: list[Any] | None = None
    groups: list[Any] | None = None
    extras: dict[str, list[float]] = field(default_factory=dict)
    written: list[str] | None = None


def model_loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Return the loss that the model itself computes on a batch with labels."""
    loss: torch.Tensor = model(**batch).loss
    return loss


def num_rows(batch: Batch) -> int:
    """Return the rows of a batch, over which the model's own loss is the mean."""
    return batch["input_ids"].shape[0]


class Formulation(ABC):
    """One way of asking a model; `task` says which columns and settings."""

    heads: ClassVar[tuple[str, ...]]
    """Heads of a model that it can use, see `light_peft.model.head`."""
    fill: ClassVar[float] = 0.0
    """Padding of outputs that are of unequal length, a finite number."""
    bound_to_batch: ClassVar[str] = ""
    """Why the loss of a training batch does not follow from what a model has at the tokens of each of its features;
    empty where it does."""

    def __init__(self, task: TaskConfig) -> None:
        self.task = task

    @abstractmethod
    def columns(self, *, labelled: bool) -> list[str]:
        """Return the columns that a split must have, with those that hold its labels or without."""

    @abstractmethod
    def examples(self, table: Table, *, labelled: bool) -> datasets.Dataset:
        """Return the rows of a table, checked; without labels if it has none.

        Raises:
            ValueError: A value is not what the formulation needs; its place is named.
        """

    def inputs(self) -> list[str]:
        """Return the columns of the examples that are read; two examples with equal ones are the same."""
        return list(self.task.text)

    @abstractmethod
    def features(
        self, examples: datasets.Dataset, tokenizer: PreTrainedTokenizerBase, *, max_length: int, training: bool
    ) -> datasets.Dataset:
        """Return what a model reads, unpadded, with `LENGTH` and `EXAMPLE`; in training with what the loss needs."""

    def collate(self, tokenizer: PreTrainedTokenizerBase, *, training: bool, **padding: Any) -> Collate:
        """Return what makes a batch of features; `padding` are the tokenizer's words for how they are padded."""
        return DataCollatorWithPadding(tokenizer, **padding)

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the loss of `model` on a training batch, a scalar with a gradient."""
        return model_loss(model, batch)

    def weight(self, batch: Batch) -> torch.Tensor | float:
        """Return over how many examples, or tokens, the loss of a training batch is the mean."""
        return num_rows(batch)

    def outputs(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Return what is kept of the model's outputs on an evaluation batch [B, ...], in fp32."""
        logits: torch.Tensor = model(**batch).logits
        return logits.float()

    def held_out(self, num_train: int) -> int:
        """Return how many of `num_train` training examples are held out for `calibrate`."""
        return 0

    def unit(self) -> str | None:
        """Return the column of the examples whose equal values are held out together, or not at all."""
        return None

    def calibrate(
        self, outputs: np.ndarray, features: datasets.Dataset, examples: datasets.Dataset
    ) -> dict[str, float]:
        """Return the settings that are found on held-out training examples, for `answers`."""
        return {}

    @abstractmethod
    def answers(
        self,
        outputs: np.ndarray,
        features: datasets.Dataset,
        examples: datasets.Dataset,
        settings: Mapping[str, float],
    ) -> Answers:
        """Return the answers to all examples.

        Args:
            outputs: What `outputs` gave for each feature, in their order [features, ...].
            features: The features, for their notes.
            examples: The examples.
            settings: What `calibrate` found.
        """

    def fingerprint(self) -> dict[str, Any]:
        """Return the settings on which features depend, for finding encoded examples again."""
        return {"formulation": type(self).__name__, "text": self.task.text, "prompt": self.task.prompt}
