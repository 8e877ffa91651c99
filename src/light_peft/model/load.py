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
from light_peft.hub import PROBE_SECONDS, ask_hub


@dataclass(frozen=True)
class Foundation:
    """A loaded foundation model.

    Attributes:
        model: The model with the task's head, in fp32, on the CPU.
        tokenizer: Its tokenizer.
        source: Where the weights came from: package, folder, hub id and commit, or `random`.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    source: str


def load_foundation(config: ModelConfig, task: TaskConfig) -> Foundation:
    """Return the configured model with a head for `task`; the head is drawn from the global generator.

    Raises:
        ValueError: If the weights cannot be had or are not the expected ones.
    """
    head = head_settings(task) | dict(config.config)
    if config.random:
        model_config = AutoConfig.for_model(**config.random, **head)
        tokenizer = AutoTokenizer.from_pretrained(_package_folder(config.tokenizer_package, needed_by=config.name))
        return Foundation(AutoModelForSequenceClassification.from_config(model_config), tokenizer, "random")
    folder = local_folder(config)
    if folder is not None:
        shown = config.package if _is_installed(config.package) else config.path
        return _from_pretrained(config, str(folder), shown or "", head, {"local_files_only": True})
    if config.path is None:
        raise ValueError(f"model={config.name}: neither model.path nor an installed model.package to load from")
    name, revision = config.path, config.revision
    answer = ask_hub(lambda api: api.model_info(name, revision=revision, timeout=PROBE_SECONDS).sha)
    reached = isinstance(answer, str)
    where = {"revision": answer if reached else revision, "local_files_only": not reached}
    return _from_pretrained(config, name, f"{name}@{where['revision'] or 'cached'}", head, where)


def _from_pretrained(
    config: ModelConfig, name: str, shown: str, head: dict[str, Any], where: dict[str, Any]
) -> Foundation:
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, **where)
        model = AutoModelForSequenceClassification.from_pretrained(name, **where, **head)
    except (OSError, ValueError) as error:
        missing = where["local_files_only"] and not Path(name).is_dir()
        reason = "no answer from the hub, no cached copy: " if missing else ""
        raise ValueError(
            f"model={config.name}: cannot load '{name}' ({reason}{_first_line(error)}); give a folder with "
            f"model.path=FOLDER, or fill the cache on a machine with network (HF_HOME) and set HF_HUB_OFFLINE=1"
        ) from error
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


def local_folder(config: ModelConfig) -> Path | None:
    """Return the folder to load from, an installed package before `path`; None if it must be the hub.

    Raises:
        ValueError: If the package's weights are not the expected ones.
    """
    if not _is_installed(config.package):
        return Path(config.path) if config.path is not None and Path(config.path).is_dir() else None
    folder = _package_folder(config.package, needed_by=config.name)
    weights = folder / "model.safetensors"
    if config.sha256 and (digest := file_sha256(weights)) != config.sha256:
        raise ValueError(
            f"model={config.name}: {weights} has sha256 {digest}, expected {config.sha256}; install the package anew"
        )
    return folder


def _is_installed(package: str | None) -> bool:
    return package is not None and find_spec(package) is not None


def _package_folder(package: str | None, *, needed_by: str) -> Path:
    spec = find_spec(package) if package else None
    if spec is None or spec.origin is None:
        raise ValueError(f"model={needed_by}: needs the Python package '{package}'; install it (see `make install`)")
    return Path(spec.origin).parent / "model"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
