"""What a run saves, and how it comes back: `load`, `load_base`, `attach_adapter`.

A run folder holds the plan, the scores, the adapter as its kind saves it and, with `save.model`, the
cut foundation model. Without the latter the foundation model is loaded again from its source and cut
along the plan, and its weights are held against the checksum in the record.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from omegaconf.errors import OmegaConfBaseException
from torch import nn
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from light_peft import artifacts
from light_peft.artifacts import RunRecord
from light_peft.config import Config, config_from_dict
from light_peft.hub import pinned
from light_peft.model import Backbone, describe
from light_peft.model.head import CLASSES, ends_in
from light_peft.model.load import load_foundation, reason_of
from light_peft.model.precision import head_in_fp32
from light_peft.model.sizes import check_sizes
from light_peft.model.tied import own_tensors, take_tensors
from light_peft.peft_modules import PeftKind, peft_kind
from light_peft.pruning.plan import PruningPlan
from light_peft.pruning.scores import Scores
from light_peft.pruning.surgery import check_widths, cut_backbone, plan_cuts
from light_peft.writing import whole_folder

WEIGHTS = "model.safetensors"

logger = logging.getLogger("light_peft")


def load(run_dir: str | Path, *, merge: bool = False) -> nn.Module:
    """Return the trained model of a run, in eval mode on the CPU, its logits equal to the bit.

    Args:
        run_dir: Folder of a finished run.
        merge: Compute PEFT into the foundation model's weights, which gives a plain transformers model
            (equal within rounding).

    Raises:
        ValueError: If the run did not finish, its folder is damaged, or its PEFT kind cannot be merged.
    """
    folder = Path(run_dir)
    base = load_base(folder)
    if not (folder / artifacts.ADAPTER).is_dir():
        return base
    model = attach_adapter(base, folder)
    return kind_of(folder).merge(model).eval() if merge else model


def load_base(run_dir: str | Path) -> PreTrainedModel:
    """Return the cut foundation model of a run, for `attach_adapter` or for `peft.PeftModel.from_pretrained`.

    Raises:
        ValueError: If the run did not finish, its folder is damaged, or the foundation model that it was
            made from is another one now.
    """
    folder = Path(run_dir)
    record = finished_record(folder)
    artifacts.verify_checksums(folder)
    plan = read_plan(folder)
    if record.head not in CLASSES:
        problem = f"head is {record.head!r}, must be one of {', '.join(CLASSES)}"
        raise ValueError(f"{folder / artifacts.RECORD} is damaged: {problem}")
    if (folder / artifacts.MODEL / WEIGHTS).is_file():
        return _load_saved(folder / artifacts.MODEL, record.head, plan)
    model = _cut_again(folder, config_of(folder, record), plan)
    if record.base.get("sha256") != base_sha256(model, describe(model)):
        raise ValueError(f"{folder}: the foundation model from {record.base.get('source')} is not the one of this run")
    return model.eval()


def attach_adapter(base: PreTrainedModel, run_dir: str | Path) -> nn.Module:
    """Return `base` with the adapter of a run on it, in eval mode.

    Raises:
        ValueError: If `base` is not the cut foundation model of that run: another head, another width (both shapes
            are named) or other weights.
    """
    folder = Path(run_dir)
    record, backbone = finished_record(folder), describe(base)
    if not ends_in(base, record.head):
        raise ValueError(f"wrong base model: {folder} needs one with a {record.head} head, not {type(base).__name__}")
    check_widths(base, backbone, read_plan(folder), before=False)
    if record.base.get("sha256") != base_sha256(base, backbone):
        raise ValueError(f"wrong base model: its shapes fit {folder}, but its weights are not those of that run")
    kind = kind_of(folder)
    with _damage_of(folder / artifacts.ADAPTER):
        return kind.load(base, folder / artifacts.ADAPTER)


def load_tokenizer(run_dir: str | Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a run.

    Raises:
        ValueError: If the run did not finish.
    """
    folder = Path(run_dir)
    finished_record(folder)
    with _damage_of(folder / artifacts.TOKENIZER):
        return AutoTokenizer.from_pretrained(folder / artifacts.TOKENIZER, local_files_only=True)


def config_of(folder: Path, record: RunRecord) -> Config:
    """Return the configuration of a run, its names on the hub pinned to the commits that it had.

    Raises:
        ValueError: If the record holds none that can be read.
    """
    try:
        return pinned(config_from_dict(record.config), record)
    except (OmegaConfBaseException, ValueError, TypeError) as error:
        raise ValueError(f"{folder / artifacts.RECORD} is damaged: config: {reason_of(error)}") from error


@contextmanager
def _damage_of(folder: Path) -> Iterator[None]:
    """Say which folder a library cannot load; what is wrong there makes the libraries raise any class."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{folder} is damaged: {reason_of(error)}") from error


def finished_record(folder: Path) -> RunRecord:
    """Return the record of a finished run.

    Raises:
        ValueError: If there is none, or the run did not finish.
    """
    record = RunRecord.read(folder)
    if record.status != "finished":
        why = record.error or record.status
        raise ValueError(f"{folder}: this run did not finish ({why}); there is nothing to load")
    return record


def kind_of(folder: Path) -> PeftKind:
    """Return the PEFT kind of a run.

    Raises:
        ValueError: If the run did not finish.
    """
    return peft_kind(finished_record(folder).peft)


def read_plan(folder: Path) -> PruningPlan:
    """Return the plan of a run.

    Raises:
        ValueError: If it is missing or damaged.
    """
    values = artifacts.read_json(folder / artifacts.PLAN)
    try:
        return PruningPlan.from_json(values)
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
        raise ValueError(f"{folder / artifacts.PLAN} is damaged: no plan can be read from it ({error})") from error


def read_scores(folder: Path) -> Scores:
    """Return the scores of a run that pruned.

    Raises:
        ValueError: If the file is missing or damaged.
    """
    return Scores.from_tensors(artifacts.read_tensors(folder / artifacts.SCORES))


def write_decision(folder: Path, plan: PruningPlan, scores: Scores | None) -> PruningPlan:
    """Write the plan of a run, and the scores that it follows from if there are any; return the plan."""
    if scores is not None:
        artifacts.write_tensors(folder / artifacts.SCORES, scores.tensors())
    artifacts.write_json(folder / artifacts.PLAN, plan.to_json())
    return plan


def save_run(
    folder: Path,
    config: Config,
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
) -> dict[str, Any]:
    """Write what, beside plan and scores, brings the model back; return what the record says of its base.

    The checksums of all of it come last. `model` is used up: PEFT is taken off it.
    """
    logger.debug("save begins")
    artifacts.remove_saved(folder)
    kind = peft_kind(config.peft.kind)
    kind.save(model, folder / artifacts.ADAPTER, config.model.path or config.model.name)
    base, _ = kind.take_off(model)
    if config.save.model:
        with whole_folder(folder / artifacts.MODEL) as target:
            base.config.architectures = [type(base).__name__]
            base.config.save_pretrained(target)
            artifacts.write_tensors(target / WEIGHTS, own_tensors(base))
    with whole_folder(folder / artifacts.TOKENIZER) as target:
        tokenizer.save_pretrained(target)
    artifacts.write_checksums(folder)
    return {"sha256": base_sha256(base, describe(base))}


def base_sha256(model: PreTrainedModel, backbone: Backbone) -> str:
    """Return the checksum of a foundation model's weights, the head left out."""
    head = set(backbone.head_modules)
    return artifacts.tensors_sha256({k: v for k, v in model.state_dict().items() if not head & set(k.split("."))})


def consumer_biases(backbone: Backbone) -> list[str]:
    """Return the names of the biases that recovery may have given to Linears that had none."""
    return [f"{site.consumer.path}.bias" for site in backbone.sites]


def _load_saved(folder: Path, head: str, plan: PruningPlan) -> PreTrainedModel:
    """Build and cut the model without memory for its weights, then give it the saved ones."""
    with _damage_of(folder):
        architecture = AutoConfig.from_pretrained(folder, local_files_only=True)
        check_sizes(folder.parent.name, architecture)
        with torch.random.fork_rng(), init_empty_weights(include_buffers=False):
            model: PreTrainedModel = CLASSES[head].from_config(architecture)
    backbone = describe(model)
    if len(plan.heads) != backbone.num_layers:
        raise ValueError(f"{folder} has {backbone.num_layers} layers, but the plan beside it {len(plan.heads)}")
    tensors = artifacts.read_tensors(folder / WEIGHTS)
    biases = {name: tensors[name] for name in consumer_biases(backbone) if name in tensors}
    cut_backbone(model, backbone, plan, plan_cuts(backbone, plan), biases)
    with _damage_of(folder):
        take_tensors(model, tensors)
    head_in_fp32(model, backbone.head_modules)
    return model.eval()


def _cut_again(folder: Path, config: Config, plan: PruningPlan) -> PreTrainedModel:
    if not peft_kind(config.peft.kind).keeps_base:
        raise ValueError(f"{folder}: save.model was false in this {config.peft.kind} run, so its weights are gone")
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        model = load_foundation(config.model, config.task).model
    folded = config.prune.fold_masks and (folder / artifacts.SCORES).exists()
    masks = read_scores(folder).masks if folded else {}
    recovery = folder / artifacts.RECOVERY
    replaced = artifacts.read_tensors(recovery) if recovery.exists() else {}
    backbone = describe(model)
    cut_backbone(model, backbone, plan, plan_cuts(backbone, plan, masks), replaced)
    return model
