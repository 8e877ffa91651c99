"""All checks of a configuration: every error at once, and a word on settings without effect."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Protocol

from light_peft.config import Config, TaskConfig, lookup
from light_peft.naming import empty_names, file_names
from light_peft.unread import SHARES, TARGETS, without_effect

CHOICES = {
    "task.formulation": ("classification", "regression", "choice", "span", "generation"),
    "task.choice.by": ("auto", "head", "likelihood"),
    "task.choice.length_norm": ("characters", "tokens", "none"),
    "task.official.malformed": ("error", "skip"),
    "model.dtype": ("auto", "fp32", "bf16", "fp16"),
    "peft.placement": ("houlsby", "pfeiffer", "parallel"),
    "peft.activation": ("relu", "gelu", "silu", "tanh"),
    "peft.miss_init": ("default", "mini", "bat"),
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
    "train.prefix_cache": ("off", "exact", "eval"),
    "data.source": ("auto", "hub", "local"),
    "data.padding": ("dynamic", "max_length"),
    "runtime.precision": ("auto", "fp32", "bf16", "fp16"),
    "runtime.device": ("auto", "cpu", "cuda", "mps"),
    "runtime.sharding": ("none", "fsdp"),
    "sweep.show": ("table", "runs"),
}
NUM_TEXTS: dict[str, tuple[int, float, str]] = {
    "classification": (1, 2, "one or two columns"),
    "regression": (1, 2, "one or two columns"),
    "choice": (1, math.inf, "one column or more"),
    "span": (2, 2, "two columns, question and context"),
    "generation": (1, math.inf, "one column or more"),
}
"""Formulation -> the fewest and the most columns of texts, and how to say it."""
MAX_SEED = 2**32 - 1
MAX_WHOLE = 2**31 - 1
"""No setting but the seed is a larger whole number, for libraries hold such in 32 bits."""
MIN_LENGTH = 8
POSITIVE = (
    *("estimate.steps", "estimate.learning_rate", "train.epochs", "train.max_steps", "train.learning_rate"),
    *("train.batch_size", "train.eval_batch_size", "train.gradient_accumulation", "peft.r", "peft.alpha"),
    *("peft.init_r", "peft.delta_t", "peft.miss_mini_r", "peft.virtual_tokens"),
    *("task.max_length", "task.span.max_answer_tokens", "task.span.n_best"),
    *("task.generation.max_new_tokens", "data.max_length", "data.max_train_samples", "data.max_eval_samples"),
    *("prune.round_to", "runtime.threads", "runtime.processes", "checkpoint.minutes", "checkpoint.steps"),
    *("estimate.micro_batches", "train.micro_batches", "train.prefix_cache_gb"),
    *("estimate.check_every", "estimate.patience", "train.distill_temperature"),
)
NOT_NEGATIVE = (
    *("estimate.l1_attn", "estimate.l1_ffn", "estimate.mask_lr_factor", "estimate.ffn_mask_lr_factor"),
    *("estimate.warmup", "train.warmup", "train.weight_decay", "train.max_grad_norm", "train.distill", "seed"),
    *("task.span.stride", "task.span.hold_out", "checkpoint.keep", "sweep.retry"),
)
RANGES: tuple[tuple[tuple[str, ...], Callable[[Any], bool], str], ...] = (
    ((*SHARES, "peft.tinit", "peft.tfinal"), lambda value: 0 <= value < 1, "a share must be in [0, 1)"),
    (("peft.dropout",), lambda value: 0 <= value < 1, "a probability must be in [0, 1)"),
    (("prune.module_depth",), lambda value: 0 <= value <= 1, "a weight must be in [0, 1]"),
    (("prune.target.memory", "prune.target.blocks"), lambda value: 0 < value < 1, "a share must be in (0, 1)"),
    (("prune.target.speedup",), lambda value: 1 < value < math.inf, "must be above 1, and finite"),
    (("estimate.window", "estimate.tolerance"), lambda value: 0 < value <= 1, "must be in (0, 1]"),
    (POSITIVE, lambda value: 0 < value < math.inf, "must be above 0, and finite"),
    (("task.choice.max_train",), lambda value: value >= 2, "must be 2 or more: a right candidate and another one"),
    (NOT_NEGATIVE, lambda value: 0 <= value < math.inf, "must not be negative, and finite"),
    (("seed",), lambda value: value < MAX_SEED, f"must be below {MAX_SEED}"),
    (("runtime.threads", "runtime.processes"), lambda value: value <= 4096, "must be 4096 or less"),
    (("peft.r", "peft.init_r", "peft.virtual_tokens"), lambda value: value <= 65536, "must be 65536 or less"),
    (
        ("data.max_length", "task.max_length"),
        lambda value: value >= MIN_LENGTH,
        f"must be {MIN_LENGTH} or more, for special tokens",
    ),
    (
        ("estimate.steps", "estimate.warmup", "train.warmup"),
        lambda value: value <= 1 or float(value).is_integer(),
        "must be a whole number of steps, or a fraction below 1",
    ),
)
"""Keys, what must hold of their value where there is one, and how to say it."""


class KindRules(Protocol):
    """What a check must know of a PEFT kind."""

    @property
    def settings(self) -> frozenset[str]:
        """Names of the fields of `PeftConfig` that the kind reads."""

    @property
    def can_prune(self) -> frozenset[str]:
        """What can be cut of it: module, rank."""

    @property
    def keeps_base(self) -> bool:
        """Whether the foundation model's own weights stay as they were."""

    def refusals(self, config: Config) -> Iterator[str]:
        """Yield what the kind cannot do of what is asked for."""


def check(config: Config, peft_kinds: Mapping[str, KindRules], criteria: list[str]) -> list[str]:
    """Return a warning for each setting that has no effect.

    Args:
        config: What was asked for.
        peft_kinds: The PEFT kinds by name.
        criteria: The values that `prune.criterion` may have.

    Raises:
        ValueError: If a value is not allowed; the message lists every one of them.
    """
    errors = list(_errors(config, peft_kinds, criteria))
    if errors:
        raise ValueError("\n".join(errors))
    kind = peft_kinds[config.peft.kind]
    return list(without_effect(config, kind.settings, keeps_base=kind.keeps_base))


def _errors(config: Config, peft_kinds: Mapping[str, KindRules], criteria: list[str]) -> Iterator[str]:
    yield from _wrong_choices(config, {"peft.kind": list(peft_kinds), "prune.criterion": criteria})
    for keys, holds, expected in RANGES:
        for key in keys:
            value = lookup(config, key)
            if value is not None and not holds(value):
                yield f"{key}={_shown(value)}: {expected}"
    yield from (*_too_large(config), *empty_names(config), *file_names(config.task))
    yield from _contradictions(config)
    if (kind := peft_kinds.get(config.peft.kind)) is not None:
        yield from _peft_contradictions(config, kind)


def _too_large(part: Any, prefix: str = "") -> Iterator[str]:
    """Yield a line for every whole number that libraries could not hold; the seed has a bound of its own."""
    for entry in fields(part):
        key, value = prefix + entry.name, getattr(part, entry.name)
        if is_dataclass(value):
            yield from _too_large(value, f"{key}.")
        elif isinstance(value, int) and value > MAX_WHOLE and key != "seed":
            yield f"{key}={_shown(value)}: must be {MAX_WHOLE} or less"


def _shown(value: float) -> str:
    """Return a number as it was given; of one with very many digits the first ones."""
    text = str(value) if isinstance(value, int) else f"{value:g}"
    return text if len(text) <= 40 else f"{text[:37]}..."


def _wrong_choices(config: Config, found: dict[str, list[str]]) -> Iterator[str]:
    for key, allowed in {**CHOICES, **found}.items():
        if (value := lookup(config, key)) not in allowed:
            yield f"{key}={value}: must be one of {', '.join(allowed)}"


def _contradictions(config: Config) -> Iterator[str]:
    task, prune, data = config.task, config.prune, config.data
    yield from (*_task_contradictions(task), *_target_contradictions(config))
    if task.formulation not in ("classification", "regression") and config.train.distill:
        yield f"train.distill={config.train.distill:g}: a {task.formulation} task has no outputs to follow; set it to 0"
    if task.primary_metric not in task.metrics:
        yield f"task.primary_metric={task.primary_metric}: must be one of task.metrics={task.metrics}"
    if prune.threshold == "quantile" and prune.round_to > 1:
        yield f"prune.round_to={prune.round_to}: needs prune.threshold=count, a quantile has no exact width"
    if prune.criterion == "layer" and prune.attn != prune.ffn:
        shares = f"prune.attn={prune.attn:g} and prune.ffn={prune.ffn:g}"
        yield f"{shares}: prune.criterion=layer cuts whole layers, so the shares must be equal"
    if config.peft.kind in ("full", "bitfit") and config.model.dtype != "fp32":
        asked = f"model.dtype={config.model.dtype}: peft={config.peft.kind}"
        yield f"{asked} trains the model's own weights and needs model.dtype=fp32"
    if data.source == "hub" and data.dir is not None:
        yield f"data.source=hub contradicts data.dir={data.dir}; leave one of them away"
    if data.dir is not None and not Path(data.dir).is_dir():
        yield f"data.dir={data.dir}: no such folder (it must hold glue/ or nyu-mll/glue/)"


def _task_contradictions(task: TaskConfig) -> Iterator[str]:
    names: dict[str, list[Any]] = {"text": task.text, "labels": task.labels, "metrics": task.metrics}
    names["choice.columns"] = task.choice.columns
    for key, values in names.items():  # a colon in a list of a YAML makes an object of what should be a name
        if odd := [value for value in values if not isinstance(value, str)]:
            yield f"task.{key} holds {odd[0]!r}, must be names; quote what has a colon"
    if task.formulation == "classification" and len(task.labels) < 2:
        yield f"task.labels={task.labels}: classification needs two labels or more"
    fewest, most, expected = NUM_TEXTS.get(task.formulation, (0, math.inf, ""))
    if not fewest <= len(task.text) <= most:
        yield f"task.text={task.text}: a {task.formulation} task has {expected}"
    if task.formulation == "choice" and not task.choice.columns:
        yield "task.choice.columns=[]: name the column of the lists of candidates, or a column for each candidate"


def _target_contradictions(config: Config) -> Iterator[str]:
    asked = [f"{key}={value:g}" for key in TARGETS if (value := lookup(config, key)) is not None]
    if len(asked) > 1:
        yield f"{' and '.join(asked)}: one target at a time chooses the shares; set the others to null"
    target = config.prune.target
    measured = target.speedup is not None or target.memory is not None
    if config.prune.method != "none" and measured and config.runtime.sharding == "fsdp":
        yield f"{asked[0]}: is measured on a whole model, not with runtime.sharding=fsdp; set prune.target.blocks"
    if target.memory is not None and config.train.gradient_checkpointing:
        how = "train.gradient_checkpointing=true keeps something else for the backward pass"
        yield f"{asked[0]}: {how} than is measured; set it to false, or set prune.target.blocks"


def _peft_contradictions(config: Config, kind: KindRules) -> Iterator[str]:
    name = config.peft.kind
    if "targets" in kind.settings and not config.peft.targets:
        yield "peft.targets=[]: name at least one projection"
    for part in ("module", "rank"):
        share = getattr(config.prune, f"peft_{part}")
        if config.prune.method != "none" and share and part not in kind.can_prune:
            yield f"prune.peft_{part}={share:g}: peft={name} has no {part}s to prune; set prune.peft_{part}=0"
    if config.runtime.sharding == "fsdp" and not kind.keeps_base:
        yield (
            f"runtime.sharding=fsdp: only frozen weights are spread over the processes, and peft={name} trains the "
            "model's own; set runtime.sharding=none, or take another kind such as peft=lora"
        )
    yield from kind.refusals(config)
