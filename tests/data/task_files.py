"""Tasks and files that the tests of `data` share."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, Features, Value
from omegaconf import OmegaConf

from light_peft.config import DataConfig, DataFiles, OfficialData, TaskConfig

ROOT = Path(__file__).resolve().parents[2]
TASK_FILES = sorted((ROOT / "conf" / "task").rglob("*.yaml"))
REAL = ROOT.parent / "shared" / "data"
"""The real benchmark files, beside the repository."""


def load_task(name: str) -> TaskConfig:
    merged = OmegaConf.merge(OmegaConf.structured(TaskConfig), OmegaConf.load(ROOT / "conf" / "task" / f"{name}.yaml"))
    task = OmegaConf.to_object(merged)
    assert isinstance(task, TaskConfig)
    return task


def tiny_task(**official: object) -> TaskConfig:
    return TaskConfig(
        name="tiny",
        formulation="classification",
        text=["sentence"],
        labels=["no", "yes"],
        metrics=["accuracy"],
        primary_metric="accuracy",
        official=OfficialData(folder="glue/Tiny", **official),  # type: ignore[arg-type]
    )


def files(train: Path | None = None, validation: Path | None = None, **data: object) -> DataConfig:
    replaced = DataFiles(train and str(train), validation and str(validation))
    return DataConfig(files=replaced, **data)  # type: ignore[arg-type]


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def write_parquet(path: Path, columns: dict[str, list[object]], labels: list[str] | None = None) -> Path:
    """Write a file as the hub has it: class numbers, their names in the schema's metadata."""
    features = {name: Value("string") for name in columns}
    features["label"] = ClassLabel(names=labels) if labels else Value("float32")
    table: pa.Table = Dataset.from_dict(columns, features=Features(features)).data.table
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path
