"""All checks of a configuration: every error at once, and a word on settings without effect."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from light_peft.config import Config

CHOICES = {
    "task.formulation": ("classification", "regression"),
    "task.official.malformed": ("error", "skip"),
    "model.dtype": ("auto", "fp32", "bf16", "fp16"),
    "prune.method": ("light_peft", "none"),
    "prune.attn_scope": ("layer", "global"),
    "prune.ffn_scope": ("layer", "global"),
    "prune.rank_scope": ("module", "global"),
    "prune.compare": ("magnitude", "signed"),
    "prune.threshold": ("count", "quantile"),
    "estimate.stop": ("steps", "settled"),
    "estimate.scheduler": ("constant", "linear", "cosine"),
    "estimate.rank_score": ("taylor", "taylor_abs"),
    "train.scheduler": ("constant", "linear", "cosine"),
    "data.source": ("auto", "hub", "local"),
    "data.padding": ("dynamic", "max_length"),
    "runtime.precision": ("auto", "fp32", "bf16", "fp16"),
    "runtime.device": ("auto", "cpu", "cuda", "mps"),
}
SHARES = ("prune.attn", "prune.ffn", "prune.peft_module", "prune.peft_rank")
MAX_SEED = 2**32 - 1
MIN_LENGTH = 8
POSITIVE = (
    *("estimate.steps", "estimate.learning_rate", "train.epochs", "train.max_steps", "train.learning_rate"),
    *("train.batch_size", "train.eval_batch_size", "train.gradient_accumulation", "peft.r", "peft.alpha"),
    *("data.max_length", "data.max_train_samples", "data.max_eval_samples", "prune.round_to", "runtime.threads"),
    *("estimate.check_every", "estimate.patience", "train.distill_temperature"),
)
NOT_NEGATIVE = (
    *("estimate.l1_attn", "estimate.l1_ffn", "estimate.mask_lr_factor", "estimate.ffn_mask_lr_factor"),
    *("estimate.warmup", "train.warmup", "train.weight_decay", "train.max_grad_norm", "train.distill", "seed"),
)
RANGES: tuple[tuple[tuple[str, ...], Callable[[Any], bool], str], ...] = (
    (SHARES, lambda value: 0 <= value < 1, "a share must be in [0, 1)"),
    (("peft.dropout",), lambda value: 0 <= value < 1, "a probability must be in [0, 1)"),
    (("estimate.window", "estimate.tolerance"), lambda value: 0 < value <= 1, "must be in (0, 1]"),
    (POSITIVE, lambda value: 0 < value < math.inf, "must be above 0, and finite"),
    (NOT_NEGATIVE, lambda value: 0 <= value < math.inf, "must not be negative, and finite"),
    (("seed",), lambda value: value < MAX_SEED, f"must be below {MAX_SEED}"),
    (("data.max_length",), lambda value: value >= MIN_LENGTH, f"must be {MIN_LENGTH} or more, for special tokens"),
    (
        ("estimate.steps", "estimate.warmup", "train.warmup"),
        lambda value: value <= 1 or float(value).is_integer(),
        "must be a whole number of steps, or a fraction below 1",
    ),
)
"""Keys, what must hold of their value where there is one, and how to say it."""


def check(config: Config, peft_kinds: list[str], criteria: list[str]) -> list[str]:
    """Return a warning for each setting that has no effect.

    Args:
        config: What was asked for.
        peft_kinds: The values that `peft.kind` may have.
        criteria: The values that `prune.criterion` may have.

    Raises:
        ValueError: If a value is not allowed; the message lists every one of them.
    """
    errors = list(_errors(config, {"peft.kind": peft_kinds, "prune.criterion": criteria}))
    if errors:
        raise ValueError("\n".join(errors))
    return list(_without_effect(config))


def lookup(config: Config, key: str) -> Any:
    """Return the value of a dotted key."""
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def _errors(config: Config, found: dict[str, list[str]]) -> Iterator[str]:
    yield from _wrong_choices(config, found)
    for keys, holds, expected in RANGES:
        for key in keys:
            value = lookup(config, key)
            if value is not None and not holds(value):
                yield f"{key}={value:g}: {expected}"
    yield from _contradictions(config)


def _wrong_choices(config: Config, found: dict[str, list[str]]) -> Iterator[str]:
    for key, allowed in {**CHOICES, **found}.items():
        if (value := lookup(config, key)) not in allowed:
            yield f"{key}={value}: must be one of {', '.join(allowed)}"


def _contradictions(config: Config) -> Iterator[str]:
    task, prune, data = config.task, config.prune, config.data
    if task.formulation == "classification" and len(task.labels) < 2:
        yield f"task.labels={task.labels}: classification needs two labels or more"
    if task.primary_metric not in task.metrics:
        yield f"task.primary_metric={task.primary_metric}: must be one of task.metrics={task.metrics}"
    if prune.threshold == "quantile" and prune.round_to > 1:
        yield f"prune.round_to={prune.round_to}: needs prune.threshold=count, a quantile has no exact width"
    if prune.criterion == "layer" and prune.attn != prune.ffn:
        shares = f"prune.attn={prune.attn:g} and prune.ffn={prune.ffn:g}"
        yield f"{shares}: prune.criterion=layer cuts whole layers, so the shares must be equal"
    if config.peft.kind == "lora" and not config.peft.targets:
        yield "peft.targets=[]: name at least one projection"
    if config.peft.kind == "full" and config.model.dtype != "fp32":
        yield f"model.dtype={config.model.dtype}: peft=full trains every weight and needs model.dtype=fp32"
    if data.source == "hub" and data.dir is not None:
        yield f"data.source=hub contradicts data.dir={data.dir}; leave one of them away"
    if data.dir is not None and not Path(data.dir).is_dir():
        yield f"data.dir={data.dir}: no such folder (it must hold glue/ or nyu-mll/glue/)"


def _without_effect(config: Config) -> Iterator[str]:
    if config.prune.method == "none":
        for key in SHARES:
            if lookup(config, key):
                yield f"{key}={lookup(config, key)} has no effect: prune=none cuts nothing"
    elif config.peft.kind == "full":
        yield "prune.peft_module and prune.peft_rank have no effect: peft=full adds no modules"
    if config.train.max_steps is None and config.train.epochs < 1:
        yield f"train.epochs={config.train.epochs:g}: less than one pass over the data"
    if config.peft.kind == "full" and not config.save.model:
        yield "save.model=false with peft=full: nothing that could be loaded is saved"
