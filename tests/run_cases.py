"""Whole runs of the smallest model, and what they leave behind that a test can hold against another run's."""

import gc
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console

from light_peft import artifacts, door, keeping
from light_peft.artifacts import RunRecord
from light_peft.config import Config, config_from_dict
from light_peft.session import run

SMOKE = ("debug=smoke", "runtime.threads=1", "runtime.device=cpu", "save.model=false", "data.max_eval_samples=16")
SHORT = ("data.max_train_samples=48", "estimate.steps=5", "train.max_steps=6", "checkpoint.steps=2")
"""Three steps an epoch, so that the score after an epoch falls into the training phase."""
MACHINE = ("seconds", "peak_memory_bytes", "part_seconds")

gc.freeze()  # the libraries stay for good, and a run of this size takes no longer than looking through them again


class Killed(BaseException):
    """No error that anything catches."""


def composed(*words: str) -> Config:
    """Return the configuration that these words of the command line compose to."""
    door.register()
    with initialize_config_dir(str(door.conf_dir()), version_base="1.3"):
        return config_from_dict(OmegaConf.to_container(compose("config", [*words]), resolve=True))  # type: ignore[arg-type]


def whole_run(folder: Path, *words: str) -> None:
    """Run in `folder`, or go on there."""
    run(composed(*SMOKE, *SHORT, *words, f"run_dir={folder}"), Console(quiet=True))


def killed_run(folder: Path, where: tuple[str, int], *words: str) -> None:
    """Run in `folder` until a step of a phase is done but not yet kept."""
    stage, _ = where
    keep, is_due = keeping.RunKeeper.keep, keeping.PhaseKeeper.is_due

    def dying_is_due(self: Any, done: int) -> bool:
        if (self._phase.name, done) == where:
            raise Killed
        return is_due(self, done)

    def dying_keep(self: Any, at: str, done: int, *rest: Any) -> None:
        keep(self, at, done, *rest)
        if at == stage == "evaluate":
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keeping.PhaseKeeper, "is_due", dying_is_due)
        patch.setattr(keeping.RunKeeper, "keep", dying_keep)
        with pytest.raises(Killed):
            whole_run(folder, *words)
    assert RunRecord.read(folder).status == "failed"


def left_behind(folder: Path) -> dict[str, Any]:
    """Return all that a run has found out, as plain values; what depends on the machine's mood is left out."""
    record = artifacts.read_json(folder / artifacts.RECORD)
    for name in ("config", "totals", "resumed", "hardware"):
        record.pop(name)
    for cost in (*record["phases"].values(), record["prefix_cache"]):
        for name in MACHINE:
            cost.pop(name, None)
    record["data"].pop("sources")
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.safetensors")}
    tensors = {name: artifacts.tensors_sha256(artifacts.read_tensors(path)) for name, path in files.items()}
    return {"record": record, "plan": artifacts.read_json(folder / artifacts.PLAN), "tensors": tensors}
