"""Every knob of a run: dataclass fields with their unit or meaning below them.

Hydra uses these classes as the schema of `conf/`; library users may build them by hand.
A field without a default here must be given in `conf/` or by the caller.
"""

from dataclasses import dataclass, field
from typing import Any, cast

from omegaconf import OmegaConf

from light_peft.config.method import EstimateConfig, PeftConfig, PruneConfig, TargetConfig
from light_peft.config.running import (
    CheckpointConfig,
    DataConfig,
    DataFiles,
    RuntimeConfig,
    SaveConfig,
    SweepConfig,
    TrainConfig,
)
from light_peft.config.task import (
    ChoiceConfig,
    GenerationConfig,
    HubData,
    ModelConfig,
    OfficialData,
    SpanConfig,
    SubmissionConfig,
    TaskConfig,
)

__all__ = [
    "CheckpointConfig",
    "ChoiceConfig",
    "Config",
    "DataConfig",
    "DataFiles",
    "EstimateConfig",
    "GenerationConfig",
    "HubData",
    "ModelConfig",
    "OfficialData",
    "PeftConfig",
    "PruneConfig",
    "RuntimeConfig",
    "SaveConfig",
    "SpanConfig",
    "SubmissionConfig",
    "SweepConfig",
    "TargetConfig",
    "TaskConfig",
    "TrainConfig",
    "config_from_dict",
    "lookup",
]


@dataclass
class Config:
    """A whole run, as asked for."""

    task: TaskConfig = field(default_factory=TaskConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    peft: PeftConfig = field(default_factory=PeftConfig)
    prune: PruneConfig = field(default_factory=PruneConfig)
    estimate: EstimateConfig = field(default_factory=EstimateConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    data: DataConfig = field(default_factory=DataConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    save: SaveConfig = field(default_factory=SaveConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)
    label: str | None = None
    """Name of this way of fine-tuning in tables and reports; null makes one of the PEFT kind and what is cut."""
    track: str = "none"
    """none | tensorboard | wandb: also log losses and scores for a tracker, below the run's folder."""
    seed: int = 42
    """Seed of initialisation, data order and dropout."""
    run_dir: str | None = None
    """Folder of this run; null makes a fresh one below outputs/."""
    resume: bool = False
    """Go on with the newest unfinished run of this configuration; with `run_dir` its run goes on without this, too."""
    evaluate: str | None = None
    """Folder of a finished run to score again instead of running."""

    @property
    def max_length(self) -> int:
        """Tokens per example, or per window of a long one, at most."""
        return self.data.max_length or self.task.max_length


def config_from_dict(values: dict[str, Any], overrides: dict[str, Any] | None = None) -> Config:
    """Return the typed configuration of composed plain values, such as a record holds.

    Raises:
        omegaconf.errors.OmegaConfBaseException: If a key is unknown, missing or of the wrong type.
    """
    return cast(Config, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), values, overrides or {})))


def lookup(config: Config, key: str) -> Any:
    """Return the value of a dotted key."""
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value
