"""Tasks and files that the tests of `data` share."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, Features, Value
from omegaconf import OmegaConf

from light_peft.config import DataConfig, DataFiles, OfficialData, TaskConfig
from light_peft.data.load import Columns, read_tables
from light_peft.data.rows import entries
from light_peft.data.table import Table

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


def columns_of(task: TaskConfig) -> Columns:
    """Return what says which columns of a split any formulation may need, its texts, candidates, names and labels."""

    def columns(*, labelled: bool) -> list[str]:
        choice = [*task.choice.columns, task.choice.names] if task.formulation == "choice" else []
        names = [*task.text, *choice, task.idx, task.group, task.label if labelled else None]
        return list(dict.fromkeys(name for name in names if name))

    return columns


def read(name: str, data: DataConfig, *, test: bool = False) -> dict[str, Table]:
    """Return the raw splits of a task."""
    task = load_task(name)
    return read_tables(task, data, columns_of(task), work_dir=Path("unused"), train=True, test=test)


def rows(table: Table) -> list[dict[str, Any]]:
    """Return the rows of a table, one dict each."""
    return [placed.values for placed in entries(table)]


def files(train: Path | None = None, validation: Path | None = None, **data: object) -> DataConfig:
    replaced = DataFiles(train and str(train), validation and str(validation))
    return DataConfig(files=replaced, **data)  # type: ignore[arg-type]


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def write_objects(path: Path, objects: list[Any], *, container: str | None = None) -> Path:
    """Write objects as JSON lines, or into the list of a JSON file, by the file's ending."""
    if path.suffix == ".jsonl":
        return write(path, "".join(json.dumps(entry) + "\n" for entry in objects))
    return write(path, json.dumps({container: objects} if container else objects))


def write_rows(path: Path, objects: list[dict[str, Any]]) -> Path:
    """Write the hub's rows as parquet; lists of objects become objects of lists, as the hub stores them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(objects), path)
    return path


def write_parquet(path: Path, columns: dict[str, list[object]], labels: list[str] | None = None) -> Path:
    """Write a file as the hub has it: class numbers, their names in the schema's metadata."""
    features = {name: Value("string") for name in columns}
    features["label"] = ClassLabel(names=labels) if labels else Value("float32")
    table: pa.Table = Dataset.from_dict(columns, features=Features(features)).data.table
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path
