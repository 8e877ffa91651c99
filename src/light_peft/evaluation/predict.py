"""The outputs of a model for all features of a split."""

from collections.abc import Iterable

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch import nn

from light_peft.data.batches import ROW, Batch
from light_peft.meter import PhaseCost, count_step
from light_peft.tasks.formulation import Formulation

Loader = Iterable[Batch]


@torch.no_grad()
def predict(
    formulation: Formulation, model: nn.Module, loader: Loader, accelerator: Accelerator, *, cost: PhaseCost
) -> np.ndarray:
    """Return the outputs for each feature [features, ...] in fp32, in the order of the features.

    A loader that gives no column `ROW` is taken to be in that order, and that of one process. The model's mode
    (training or not) is as before.

    Raises:
        ValueError: If an output is not finite, which a decision would hide.
    """
    was_training = model.training
    model.eval()
    outputs: list[np.ndarray] = []
    rows: list[np.ndarray] = []
    tokens = torch.zeros((), dtype=torch.long, device=accelerator.device)
    for batch in loader:
        batch = send_to_device(batch, accelerator.device)
        inputs = {name: value for name, value in batch.items() if name not in ("labels", ROW)}
        shape = (batch["input_ids"].shape[0], batch["input_ids"].shape[1])
        with count_step(cost, [shape]), accelerator.autocast():
            output = formulation.outputs(model, inputs)
        tokens += batch["attention_mask"].sum()
        if output.dim() > 1:  # processes may have batches of another length
            output = accelerator.pad_across_processes(output, dim=output.dim() - 1, pad_index=formulation.fill)
        before = sum(map(len, rows))
        number = batch.get(ROW, torch.arange(before, before + len(output), device=output.device))
        output, number = accelerator.gather((output, number))
        outputs.append(output.cpu().numpy())
        rows.append(number.cpu().numpy())
    model.train(was_training)
    cost.tokens = (cost.tokens or 0) + int(tokens)
    whole = _joined(outputs, formulation.fill)
    if bad := int((~np.isfinite(whole)).reshape(len(whole), -1).any(axis=1).sum()):
        raise ValueError(f"evaluate: {bad} outputs of the model are not finite")
    _, first = np.unique(np.concatenate(rows), return_index=True)
    return whole[first]


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
