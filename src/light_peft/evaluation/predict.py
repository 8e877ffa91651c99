"""What a model answers to the examples of a split."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import datasets
import numpy as np
import torch
from accelerate import Accelerator
from torch import nn
from transformers import PreTrainedTokenizerBase

from light_peft.config import Config
from light_peft.data.batches import ROW, Batch, eval_loader, padding_words
from light_peft.meter import PhaseCost, count_step
from light_peft.tasks.formulation import Answers, Formulation

Loader = Iterable[Batch]


@dataclass(frozen=True)
class EvalSet:
    """A split that is answered: its examples, and what a model reads of them."""

    examples: datasets.Dataset
    features: datasets.Dataset


class Examiner:
    """Asks models, in the way of a task's formulation."""

    def __init__(
        self, config: Config, formulation: Formulation, tokenizer: PreTrainedTokenizerBase, accelerator: Accelerator
    ) -> None:
        self.config, self.formulation = config, formulation
        self.tokenizer, self.accelerator = tokenizer, accelerator

    def eval_set(self, examples: datasets.Dataset) -> EvalSet:
        """Return `examples` with their features."""
        length = self.config.max_length
        return EvalSet(examples, self.formulation.features(examples, self.tokenizer, max_length=length, training=False))

    def eval_sets(self, splits: Mapping[str, datasets.Dataset]) -> dict[str, EvalSet]:
        """Return every split with its features."""
        return {name: self.eval_set(examples) for name, examples in splits.items()}

    def outputs(self, model: nn.Module, features: datasets.Dataset, cost: PhaseCost) -> np.ndarray:
        """Return what is kept of the model's outputs for each of the features, in their order."""
        config = self.config
        words = padding_words(config.data.padding, config.max_length)
        collate = self.formulation.collate(self.tokenizer, training=False, **words)
        loader = eval_loader(features, collate, batch_size=config.train.eval_batch_size, padding=config.data.padding)
        return predict(self.formulation, model, self.accelerator.prepare(loader), self.accelerator, cost=cost)

    def calibrate(self, model: nn.Module, held_out: EvalSet | None, cost: PhaseCost) -> dict[str, float]:
        """Return the settings that the formulation finds on held-out training examples, if there are any."""
        if held_out is None:
            return {}
        outputs = self.outputs(model, held_out.features, cost)
        return self.formulation.calibrate(outputs, held_out.features, held_out.examples)

    def answers(
        self, model: nn.Module, splits: Mapping[str, EvalSet], settings: Mapping[str, float], cost: PhaseCost
    ) -> dict[str, Answers]:
        """Return the answers to each split."""
        found = {}
        for name, split in splits.items():
            outputs = self.outputs(model, split.features, cost)
            found[name] = self.formulation.answers(outputs, split.features, split.examples, settings)
        return found


@torch.no_grad()
def predict(
    formulation: Formulation, model: nn.Module, loader: Loader, accelerator: Accelerator, *, cost: PhaseCost
) -> np.ndarray:
    """Return the outputs for each feature [features, ...] in fp32, in the order of the features.

    A loader that gives no column `ROW` is taken to be in that order. The model's mode (training or not) is as before.

    Raises:
        ValueError: If an output is not finite, which a decision would hide.
    """
    was_training = model.training
    model.eval()
    outputs: list[np.ndarray] = []
    rows: list[np.ndarray] = []
    tokens = torch.zeros((), dtype=torch.long, device=accelerator.device)
    for batch in loader:
        inputs = {name: value for name, value in batch.items() if name not in ("labels", ROW)}
        shape = (batch["input_ids"].shape[0], batch["input_ids"].shape[1])
        with count_step(cost, [shape]), accelerator.autocast():
            output = formulation.outputs(model, inputs)
        tokens += batch["attention_mask"].sum()
        output = accelerator.pad_across_processes(output, dim=output.dim() - 1, pad_index=formulation.fill)
        number = batch.get(ROW, torch.zeros(shape[0], dtype=torch.long, device=output.device))
        output, number = accelerator.gather_for_metrics((output, number))
        outputs.append(output.cpu().numpy())
        rows.append(number.cpu().numpy())
    model.train(was_training)
    cost.tokens = (cost.tokens or 0) + int(tokens)
    whole = _joined(outputs, formulation.fill)
    if bad := int((~np.isfinite(whole)).reshape(len(whole), -1).any(axis=1).sum()):
        raise ValueError(f"evaluate: {bad} outputs of the model are not finite")
    return whole[np.argsort(np.concatenate(rows), kind="stable")]


def _joined(parts: list[np.ndarray], fill: float) -> np.ndarray:
    """Return the rows of all parts; the last axis is padded with `fill` where it is shorter."""
    if parts[0].ndim > 1:
        longest = max(part.shape[-1] for part in parts)
        rest = [(0, 0)] * (parts[0].ndim - 1)
        parts = [
            np.pad(part, [*rest, (0, longest - part.shape[-1])], constant_values=fill)
            if part.shape[-1] < longest
            else part
            for part in parts
        ]
    return np.concatenate(parts)
