"""Settings that a run does not read, so that a value of one's own there is worth a word."""

from collections.abc import Callable, Iterator
from dataclasses import fields

from light_peft.config import Config, PeftConfig, lookup

SHARES = ("prune.attn", "prune.ffn", "prune.peft_module", "prune.peft_rank")
TARGETS = ("prune.target.speedup", "prune.target.memory", "prune.target.blocks")
UNREAD: tuple[tuple[Callable[[Config], bool], str, tuple[str, ...]], ...] = (
    (
        lambda config: config.prune.method == "none",
        "prune=none cuts nothing",
        (
            *SHARES,
            *TARGETS,
            "prune.module_depth",
            "prune.compensate_bias",
            "prune.refit",
            "prune.merge_cut_peft",
            "train.distill",
        ),
    ),
    (
        lambda config: config.prune.method != "none" and config.prune.criterion != "mask",
        "only prune.criterion=mask learns masks",
        (
            *("prune.compare", "estimate.l1_attn", "estimate.l1_ffn"),
            *("estimate.mask_lr_factor", "estimate.ffn_mask_lr_factor"),
        ),
    ),
    (
        lambda config: config.prune.criterion == "layer",
        "prune.criterion=layer cuts whole layers",
        ("prune.attn_scope", "prune.ffn_scope", "prune.round_to", "prune.allow_empty"),
    ),
    (
        lambda config: not config.checkpoint.keep,
        "checkpoint.keep=0 writes none",
        ("checkpoint.minutes", "checkpoint.steps"),
    ),
    (lambda config: config.checkpoint.steps is not None, "checkpoint.steps goes before", ("checkpoint.minutes",)),
    (
        lambda config: config.estimate.stop == "steps",
        "estimate.stop=steps does not look at it",
        ("estimate.tolerance", "estimate.patience"),
    ),
    (lambda config: config.train.prefix_cache == "off", "train.prefix_cache=off", ("train.prefix_cache_gb",)),
    (lambda config: not config.train.distill, "train.distill=0", ("train.distill_temperature",)),
    (
        lambda config: config.task.formulation != "span",
        "only a span task reads it",
        (
            *("task.span.no_answer", "task.span.stride", "task.span.max_answer_tokens"),
            *("task.span.n_best", "task.span.hold_out"),
        ),
    ),
    (
        lambda config: config.task.formulation == "span" and not config.task.span.no_answer,
        "task.span.no_answer=false needs no threshold",
        ("task.span.hold_out",),
    ),
    (
        lambda config: config.task.formulation != "choice",
        "only a choice reads it",
        (
            *("task.choice.columns", "task.choice.names", "task.choice.keys", "task.choice.by"),
            *("task.choice.length_norm", "task.choice.max_train"),
        ),
    ),
    (
        lambda config: config.task.choice.by == "head",
        "task.choice.by=head has no likelihood",
        ("task.choice.length_norm",),
    ),
    (
        lambda config: config.task.choice.by == "likelihood",
        "task.choice.by=likelihood trains on the right candidate alone",
        ("task.choice.max_train",),
    ),
    (
        lambda config: config.task.formulation != "generation",
        "only a generation task reads it",
        ("task.generation.max_new_tokens",),
    ),
    (
        lambda config: config.task.formulation not in ("choice", "generation"),
        "only a choice or a generation task has a prompt",
        ("task.prompt",),
    ),
    (lambda config: config.task.formulation != "classification", "only a classification has classes", ("task.labels",)),
)
"""When, why, and which settings are not read, so that a value of one's own there is worth a warning."""


def without_effect(config: Config, of_kind: frozenset[str], *, keeps_base: bool) -> Iterator[str]:
    """Yield a warning for each setting that is asked for and not read.

    Args:
        config: What was asked for.
        of_kind: Names of the fields of `PeftConfig` that its kind reads.
        keeps_base: Whether the foundation model's own weights stay as they were.
    """
    defaults = Config()
    for holds, why, keys in UNREAD:
        for key in keys if holds(config) else ():
            if (value := lookup(config, key)) != lookup(defaults, key):
                yield f"{key}={value} has no effect: {why}"
    plain = PeftConfig(kind=config.peft.kind)
    for entry in fields(PeftConfig):
        value = getattr(config.peft, entry.name)
        if entry.name not in {"kind", *of_kind} and value != getattr(plain, entry.name):
            yield f"peft.{entry.name}={value} has no effect: peft={config.peft.kind} does not read it"
    if config.save.predictions and (limit := config.data.max_eval_samples) is not None:
        yield f"data.max_eval_samples={limit} with save.predictions=true: a benchmark takes no part of a split"
    if config.train.max_steps is None and config.train.epochs < 1:
        yield f"train.epochs={config.train.epochs:g}: less than one pass over the data"
    if not keeps_base and not config.save.model:
        yield f"save.model=false with peft={config.peft.kind}: nothing that could be loaded is saved"
