"""Predictions of a model over a split, and their score."""

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from light_peft.config import TaskConfig
from light_peft.data.batches import ROW
from light_peft.evaluation.metrics import compute_metrics
from light_peft.meter import PhaseCost, count_step

Loader = Iterable[dict[str, torch.Tensor]]


@torch.no_grad()
def predict(
    model: nn.Module, loader: Loader, accelerator: Accelerator, *, cost: PhaseCost
) -> tuple[np.ndarray, np.ndarray]:
    """Return the model's outputs [N, classes] in fp32 and the labels [N], in the order of the examples.

    A loader that gives no column `ROW` is taken to be in that order. The model's mode (training or not) is as before.
    """
    was_training = model.training
    model.eval()
    found: list[tuple[torch.Tensor, ...]] = []
    tokens = torch.zeros((), dtype=torch.long, device=accelerator.device)
    for batch in loader:
        inputs = {name: value for name, value in batch.items() if name not in ("labels", ROW)}
        with count_step(cost, [(batch["input_ids"].shape[0], batch["input_ids"].shape[1])]):
            logits = model(**inputs).logits
        tokens += batch["attention_mask"].sum()
        rows = batch.get(ROW, torch.zeros_like(batch["labels"], dtype=torch.long))
        found.append(accelerator.gather_for_metrics((logits.float(), batch["labels"], rows)))
    model.train(was_training)
    cost.tokens = (cost.tokens or 0) + int(tokens)
    outputs, labels, numbers = (torch.cat(parts).cpu().numpy() for parts in zip(*found, strict=True))
    order = np.argsort(numbers, kind="stable")
    return outputs[order], labels[order]


def score(task: TaskConfig, outputs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return the task's metrics of these outputs.

    Raises:
        ValueError: If an output is not finite, which argmax would hide.
    """
    if not np.isfinite(outputs).all():
        raise ValueError(f"evaluate: {(~np.isfinite(outputs)).any(axis=1).sum()} outputs of the model are not finite")
    predictions = outputs[:, 0] if task.formulation == "regression" else outputs.argmax(axis=1)
    return compute_metrics(task.metrics, predictions, labels)


def score_splits(
    task: TaskConfig,
    model: nn.Module,
    loaders: Mapping[str, Loader],
    accelerator: Accelerator,
    *,
    cost: PhaseCost,
) -> dict[str, float]:
    """Return the metrics of every split; with several splits each name begins with its split."""
    metrics: dict[str, float] = {}
    for split, loader in loaders.items():
        found = score(task, *predict(model, loader, accelerator, cost=cost))
        metrics |= {_qualified(split, name, loaders): value for name, value in found.items()}
    return metrics


def primary_name(task: TaskConfig, splits: Iterable[str]) -> str:
    """Return the name, among the metrics of `score_splits`, of the one that is the score."""
    names = dict.fromkeys(splits)
    return _qualified(next(iter(names)), task.primary_metric, names)


def _qualified(split: str, metric: str, splits: Iterable[str]) -> str:
    return f"{split}/{metric}" if len(list(splits)) > 1 else metric
