"""Runs to be opened: their configuration, and what ended ones leave behind."""

from pathlib import Path

from light_peft.config import CheckpointConfig, Config, ModelConfig, PeftConfig, TaskConfig, TrainConfig
from light_peft.opening import Opened, open_run


def leave(status: str, run_dir: str | None = None, *, steps: int = 8, seed: int = 1) -> Path:
    """Leave a run behind as it is when its process has ended with this status; return its folder."""
    opened = open_run(config(run_dir, steps=steps, seed=seed))
    if status != "running":
        opened.record.status = status
        opened.record.write(opened.folder)
    opened.close()
    return opened.folder


def config(run_dir: str | None = None, *, resume: bool = False, keep: int = 2, steps: int = 8, seed: int = 1) -> Config:
    """Return the configuration of a run."""
    return Config(
        task=TaskConfig(name="demo"),
        model=ModelConfig(name="tiny"),
        train=TrainConfig(max_steps=steps),
        checkpoint=CheckpointConfig(keep=keep),
        peft=PeftConfig(kind="lora"),
        run_dir=run_dir,
        resume=resume,
        seed=seed,
    )


def reopened(wanted: Config) -> Opened:
    """Open a run and let it go at once."""
    opened = open_run(wanted)
    opened.close()
    return opened
