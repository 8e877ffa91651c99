"""What one of two processes does for test_checkpoints.py; what each has found lies in a folder as text."""

import os
from pathlib import Path

import pytest
import torch

from light_peft.checkpoints import Checkpoint, Checkpoints
from light_peft.config import RuntimeConfig
from light_peft.runtime import start_runtime


def refuse(_: int) -> None:
    """Be a disk that is full."""
    raise OSError(28, "No space left on device")


def at(step: int, rank: int) -> Checkpoint:
    """Return what process `rank` has to keep behind `step` steps."""
    return Checkpoint("train", step, {"from": torch.tensor(rank)}, {"of": rank})


def told(store: Checkpoints) -> str:
    """Return what the newest whole checkpoint says here."""
    found = store.latest()
    return "none" if found is None else f"{found.step} {int(found.shared['from'])} {found.own['of']}"


def work(rank: int, count: int, port: int, folder: str) -> None:
    """Be one of `count` processes."""
    group = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in group.items()} | {"OMP_NUM_THREADS": "1"})
    accelerator = start_runtime(RuntimeConfig(device="cpu", precision="fp32", threads=1), 0)
    store = Checkpoints(Path(folder) / "run", 2, accelerator)
    said = [told(store), str(store.write(at(1, rank))), told(store)]
    for full in range(count):  # one disk is full, be it the main process's or the other's
        with pytest.MonkeyPatch.context() as patch:
            if rank == full:
                patch.setattr("os.fsync", refuse)
            said.append(str(store.write(at(2, rank))))
        said.append(told(store))
    said += [str(store.write(at(3, rank))), told(store)]
    accelerator.wait_for_everyone()
    if rank == 0:
        (store.folder / "000002-train-3" / "rank-1.json").write_text("{}")
    accelerator.wait_for_everyone()
    said.append(told(store))
    (Path(folder) / f"{rank}.txt").write_text("\n".join(said), encoding="utf-8")
    torch.distributed.destroy_process_group()
