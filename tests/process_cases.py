"""What one of several processes does for test_processes.py; what each has found lies in a folder as a tensor file."""

import gc
import os
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR
from transformers.modeling_outputs import SequenceClassifierOutput

import prefix_cases
from light_peft.checkpoints import Checkpoint
from light_peft.config import RuntimeConfig
from light_peft.data.batches import STAND_IN, Batch
from light_peft.estimates import Estimations
from light_peft.meter import PhaseCost
from light_peft.processes import any_of, on_main, sum_over
from light_peft.runtime import start_runtime
from light_peft.tasks.formulation import model_loss
from light_peft.training.loop import Phase, PhaseRun

ROWS, TOKENS, WORDS = 21, 5, 11
SIZE, STEPS, ACCUMULATION = 4, 6, 2
"""Rows of a global batch, so that the last of an epoch has one; optimizer steps; forward passes of each."""


class Tiny(nn.Module):
    """The mean of the embeddings, classified; one parameter takes no part."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(WORDS, 4)
        self.classifier = nn.Linear(4, 2)
        self.unused = nn.Linear(4, 4)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor
    ) -> SequenceClassifierOutput:
        weights_BT = attention_mask[..., None] / attention_mask.sum(1)[:, None, None]
        logits = self.classifier((self.embedding(input_ids) * weights_BT).sum(1))
        return SequenceClassifierOutput(loss=nn.functional.cross_entropy(logits, labels), logits=logits)


def global_batches() -> list[Batch]:
    """Return the batches that all processes together see in an epoch."""
    generator = torch.Generator().manual_seed(1)
    columns = {
        "input_ids": torch.randint(WORDS, (ROWS, TOKENS), generator=generator),
        "attention_mask": (torch.arange(TOKENS) < torch.randint(1, TOKENS + 1, (ROWS, 1), generator=generator)).long(),
        "labels": torch.randint(2, (ROWS,), generator=generator),
    }
    return [{name: rows[at : at + SIZE] for name, rows in columns.items()} for at in range(0, ROWS, SIZE)]


def share_of(batch: Batch, rank: int, count: int) -> Batch:
    """Return the rows of one process, or a stand-in."""
    own = {name: rows[rank::count] for name, rows in batch.items()}
    if len(own["labels"]):
        return own
    return {name: rows[:1] for name, rows in batch.items()} | {STAND_IN: torch.ones(())}


def trained(accelerator: Accelerator, *, break_at: int | None = None) -> tuple[dict[str, torch.Tensor], list[float]]:
    """Return the parameters after a phase with a penalty and clipping, and the losses that were told.

    With `break_at` the last process's loss is no number from that forward pass on.
    """
    rank, count = accelerator.process_index, accelerator.num_processes
    model, seen, told = Tiny(), 0, []
    optimizer = SGD(model.parameters(), lr=0.5)
    phase = Phase("train", STEPS, optimizer, LambdaLR(optimizer, lambda step: 0.9**step), ACCUMULATION, 0.2)
    phase.penalty = lambda: 0.01 * model.classifier.weight.abs().sum()

    def loss(wrapped: nn.Module, batch: Batch) -> torch.Tensor:
        nonlocal seen
        seen += 1
        is_broken = break_at is not None and rank == count - 1 and seen >= break_at
        return model_loss(wrapped, batch) * (float("nan") if is_broken else 1.0)

    phase.loss = loss
    wrapped, phase.optimizer = accelerator.prepare(model, optimizer)
    loader = [share_of(batch, rank, count) for batch in global_batches()]
    run = PhaseRun(phase, wrapped, loader, accelerator, cost=PhaseCost())
    run.run(on_progress=lambda _, mean: told.append(mean))
    accelerator.free_memory()
    return {name: parameter.detach() for name, parameter in model.named_parameters()}, told


def raised(error: type[Exception], accelerator: Accelerator) -> str:
    """Return the kind and message of what `on_main` raises here when the main process fails."""

    def fail() -> None:
        raise error("no more of this")

    try:
        on_main(accelerator, fail)
    except (ValueError, RuntimeError, OSError) as found:
        return f"{type(found).__name__}: {found}"
    return "nothing"


def texts(accelerator: Accelerator) -> list[str]:
    """Return what was said here in the cases that give no figures."""
    said = [str(on_main(accelerator, lambda: ("of", accelerator.process_index)))]
    said += [raised(error, accelerator) for error in (ValueError, OSError)]
    try:
        trained(accelerator, break_at=3)
    except ValueError as error:
        said.append(str(error))
    rank = accelerator.process_index
    said.append(str(any_of(accelerator, rank == 0, rank == 1, False)))
    accelerator.free_memory()  # of the phase that failed
    gc.collect()
    left = [thing for thing in gc.get_objects() if isinstance(thing, DistributedDataParallel | Tiny)]
    said.append(f"{len(left)} models left")
    return said


def estimations(accelerator: Accelerator, folder: Path) -> list[str]:
    """Return what one run puts into a folder of estimations and the next one, of as many processes, finds there."""
    rank, said = accelerator.process_index, []
    for _ in range(2):
        of_one_run = Estimations(folder, {"seen by": rank}, accelerator)
        with of_one_run.needed() as found:
            said.append("none" if found is None else f"{found.shared['by']} {found.own['by']}")
            if found is None:
                of_one_run.put(Checkpoint("estimate", 1, {"by": rank}, {"by": rank}))
    return [*said, of_one_run.folder.name]


def work(rank: int, count: int, port: int, folder: str) -> None:
    """Be one of `count` processes."""
    group = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in group.items()} | {"OMP_NUM_THREADS": "1"})
    accelerator = start_runtime(RuntimeConfig(device="cpu", precision="fp32", threads=1), 0)
    parameters, told = trained(accelerator)
    sums = sum_over(accelerator, torch.tensor([1.0, rank]), torch.tensor(10.0 * rank))
    found = parameters | {"told": torch.tensor(told), "sum.0": sums[0], "sum.1": sums[1].reshape(1)}
    save_file({name: tensor.contiguous() for name, tensor in found.items()}, Path(folder) / f"{rank}.safetensors")
    for wanted in ("off", "exact"):  # the second one needs no states of the first
        fed = prefix_cases.trained(accelerator, Path(folder) / "run", prefix_cache=wanted)
        assert fed.is_read == (wanted == "exact")
        save_file(fed.parameters, Path(folder) / f"{rank}.{wanted}")
    said = [*texts(accelerator), *estimations(accelerator, Path(folder) / "estimates")]
    (Path(folder) / f"{rank}.txt").write_text("\n".join(said), encoding="utf-8")
    torch.distributed.destroy_process_group()
