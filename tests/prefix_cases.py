"""A small training phase with and without the prefix cache, for one process or for several."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import datasets
import torch
from accelerate import Accelerator
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel

from light_peft.artifacts import RunRecord
from light_peft.config import Config, TrainConfig
from light_peft.data.batches import LENGTH, ROW, Batch, TrainLoader
from light_peft.meter import Meter, PhaseCost
from light_peft.model import Backbone
from light_peft.prefix_cache import PrefixCache
from light_peft.training.loop import Phase, PhaseRun
from model_cases import tiny_model, with_random_lora

ROWS, SIZE, STEPS = 13, 4, 9
"""Features, so that the last batch of an epoch has one; rows of a global batch; steps, two epochs and a bit."""


def features() -> datasets.Dataset:
    """Return features of 1 to 7 tokens."""
    generator = torch.Generator().manual_seed(3)
    lengths = [1 + (5 * row) % 7 for row in range(ROWS)]
    ids = [torch.randint(2, 50, (length,), generator=generator).tolist() for length in lengths]
    ones = [[1] * length for length in lengths]
    labels = [row % 2 for row in range(ROWS)]
    columns = {"input_ids": ids, "attention_mask": ones, "labels": labels, LENGTH: lengths}
    return datasets.Dataset.from_dict(columns)


def collate(rows: list[dict[str, Any]]) -> Batch:
    """Return a batch, padded on the right."""
    batch = {
        name: nn.utils.rnn.pad_sequence([torch.tensor(row[name]) for row in rows], batch_first=True)
        for name in ("input_ids", "attention_mask")
    }
    return batch | {name: torch.tensor([row[name] for row in rows]) for name in ("labels", ROW) if name in rows[0]}


class Outcome(NamedTuple):
    """What a phase has left.

    Attributes:
        parameters: All that train.
        cache: What the record says of the cache.
        cost: Of the phase.
        is_read: Whether its batches were completed from the cache.
    """

    parameters: dict[str, torch.Tensor]
    cache: dict[str, Any]
    cost: PhaseCost
    is_read: bool


def model_with(dropout: float) -> tuple[nn.Module, PreTrainedModel, Backbone]:
    """Return a BERT whose highest layer alone trains, what is inside, and where; dropout is in the layers below."""
    bare = tiny_model("bert")
    for name, module in bare.named_modules():
        if isinstance(module, nn.Dropout):
            module.p = dropout if "layer.0" in name or "layer.1" in name else 0.0
    model, backbone = with_random_lora(bare)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("layer.2" in name and "lora" in name)
    return model, bare, backbone


def trained(
    accelerator: Accelerator,
    folder: Path,
    *,
    dropout: float = 0.0,
    steps: int = STEPS,
    found: object = None,
    bound: str = "",
    **train: Any,
) -> Outcome:
    """Return what a phase of `steps` leaves with these settings of `train`.

    Args:
        accelerator: Of this process.
        folder: Of the run.
        dropout: In the layers in which nothing trains.
        steps: Optimizer steps.
        found: The checkpoint that the run goes on from.
        bound: `Formulation.bound_to_batch`.
        train: More settings.
    """
    model, bare, backbone = model_with(dropout)
    record, meter = RunRecord(), Meter(accelerator.device)
    keeper: Any = SimpleNamespace(accelerator=accelerator, folder=folder, record=record, meter=meter, found=found)
    formulation = SimpleNamespace(bound_to_batch=bound, collate=lambda *_, **__: collate)
    examiner: Any = SimpleNamespace(formulation=formulation, tokenizer=None)
    config = Config(train=TrainConfig(batch_size=SIZE, eval_batch_size=3, **train))
    optimizer = SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    phase = Phase("train", steps, optimizer, LambdaLR(optimizer, lambda _: 1.0))
    rank, count = accelerator.process_index, accelerator.num_processes
    with torch.random.fork_rng(), meter.phase("train") as cost:
        torch.manual_seed(0)
        cache = PrefixCache(config, keeper, examiner, backbone)
        read = cache.serve(phase, model, bare, features(), -(-ROWS // SIZE))
        loader = TrainLoader(read, collate, batch_size=SIZE // count, padding="dynamic", seed=0, share=(rank, count))
        wrapped, phase.optimizer = accelerator.prepare(model, optimizer)
        PhaseRun(phase, wrapped, loader, accelerator, cost=cost).run()
        accelerator.free_memory()
    parameters = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    return Outcome(parameters, record.prefix_cache, cost, ROW in read.column_names)
