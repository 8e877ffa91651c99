"""A foundation model with a fresh task head, from a package, a folder, the hub, or at random."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from light_peft.artifacts import file_sha256
from light_peft.config import ModelConfig, TaskConfig


@dataclass(frozen=True)
class Foundation:
    """A loaded foundation model.

    Attributes:
        model: The model with the task's head, in fp32, on the CPU.
        tokenizer: Its tokenizer.
        source: Where the weights came from: package, folder, hub id or `random`.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    source: str


def load_foundation(config: ModelConfig, task: TaskConfig) -> Foundation:
    """Return the configured model with a head for `task`; the head is drawn from the global generator.

    Raises:
        ValueError: If the weights cannot be had or are not the expected ones.
    """
    head = head_settings(task)
    if config.random:
        model_config = AutoConfig.for_model(**config.random, **head)
        tokenizer = AutoTokenizer.from_pretrained(_package_folder(config.tokenizer_package, needed_by=config.name))
        return Foundation(AutoModelForSequenceClassification.from_config(model_config), tokenizer, "random")
    source = resolve_source(config)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, revision=config.revision)
        model = AutoModelForSequenceClassification.from_pretrained(source, revision=config.revision, **head)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"model={config.name}: cannot load '{source}' ({_first_line(error)}); give a folder with "
            f"model.path=FOLDER, or put the model into the hub's cache first"
        ) from error
    shown = config.package if config.package and _is_installed(config.package) else source
    return Foundation(model.float(), tokenizer, shown)


def head_settings(task: TaskConfig) -> dict[str, Any]:
    """Return what the task asks of the model's configuration."""
    if task.formulation == "regression":
        return {"num_labels": 1, "problem_type": "regression"}
    return {
        "num_labels": len(task.labels),
        "problem_type": "single_label_classification",
        "id2label": dict(enumerate(task.labels)),
        "label2id": {label: index for index, label in enumerate(task.labels)},
    }


def resolve_source(config: ModelConfig) -> str:
    """Return the folder or the hub id to load from; an installed package comes first.

    Raises:
        ValueError: If the package's weights are not the expected ones, or nothing is configured.
    """
    if _is_installed(config.package):
        folder = _package_folder(config.package, needed_by=config.name)
        weights = folder / "model.safetensors"
        if config.sha256 and (digest := file_sha256(weights)) != config.sha256:
            raise ValueError(
                f"model={config.name}: {weights} has sha256 {digest}, expected {config.sha256}; "
                f"install the package anew"
            )
        return str(folder)
    if config.path is None:
        raise ValueError(f"model={config.name}: neither model.path nor an installed model.package to load from")
    return config.path


def _is_installed(package: str | None) -> bool:
    return package is not None and find_spec(package) is not None


def _package_folder(package: str | None, *, needed_by: str) -> Path:
    spec = find_spec(package) if package else None
    if spec is None or spec.origin is None:
        raise ValueError(f"model={needed_by}: needs the Python package '{package}'; install it (see `make install`)")
    return Path(spec.origin).parent / "model"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
