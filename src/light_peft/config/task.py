"""What is learned: the benchmark task, its files, and the foundation model."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class HubData:
    """Where a task lies on the Hugging Face hub; its column names are the task's own."""

    path: str = ""
    """Data set id, `owner/name`."""
    name: str | None = None
    """Configuration of the data set, such as `rte`."""
    revision: str | None = None
    """Commit, tag or branch; null takes the newest."""
    train: str = "train"
    """Name of the training split."""
    validation: dict[str, str] = field(default_factory=dict)
    """Our name of each evaluation split -> the hub's; the first gives the score; empty: {validation: validation}."""


@dataclass
class OfficialData:
    """Where a task lies in its official release, below `data.dir`."""

    folder: str = ""
    """Folder below `data.dir`, such as `glue/RTE`."""
    train: str = "train.tsv"
    """File of the training split."""
    validation: dict[str, str] = field(default_factory=dict)
    """Our name of each evaluation split -> file; the first gives the score; empty: {validation: dev.tsv}."""
    header: list[str] | None = None
    """Column names of files that have no header line; null reads them from the first line."""
    rename: dict[str, str] = field(default_factory=dict)
    """Column of the official file -> column of the task."""
    malformed: str = "error"
    """error | skip: what to do with a line of the wrong number of columns (QQP has a few)."""
    generator: str | None = None
    """Name of a built-in generator that writes these files; null for real data."""


@dataclass
class TaskConfig:
    """What a benchmark task is: its texts, its label, its metrics and where its files lie."""

    name: str = MISSING
    """Name in records and tables."""
    formulation: str = MISSING
    """classification | regression."""
    text: list[str] = MISSING
    """One or two columns that hold the text."""
    label: str = "label"
    """Column that holds the label."""
    labels: list[str] = field(default_factory=list)
    """Label names in the order of their numbers; empty for regression."""
    metrics: list[str] = MISSING
    """Metrics to compute: accuracy, f1, matthews_correlation, pearson, spearman."""
    primary_metric: str = MISSING
    """The one metric that is the score."""
    hub: HubData = field(default_factory=HubData)
    official: OfficialData = field(default_factory=OfficialData)


@dataclass
class ModelConfig:
    """Which foundation model, and where its weights come from."""

    name: str = MISSING
    """Name in records and tables."""
    path: str | None = None
    """Hub id, or a local folder in the hub's layout."""
    revision: str | None = None
    """Commit, tag or branch of the hub id; null takes the newest."""
    package: str | None = None
    """Python package that carries the weights in its folder `model/`; used before `path` if installed."""
    sha256: str | None = None
    """Expected checksum of the package's model.safetensors."""
    random: dict[str, Any] = field(default_factory=dict)
    """Configuration values of a randomly initialised model (for tests); empty loads weights."""
    config: dict[str, Any] = field(default_factory=dict)
    """Values that replace those of the model's own configuration, such as hidden_dropout_prob; a wrong name is
    refused."""
    dtype: str = "fp32"
    """auto | fp32 | bf16 | fp16: precision of the frozen weights; PEFT and head stay fp32. auto: as they are stored."""
    tokenizer_package: str | None = None
    """Python package that carries the tokenizer of a randomly initialised model."""
