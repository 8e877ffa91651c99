from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from light_peft.config import Config, ModelConfig, PeftConfig, PruneConfig, TaskConfig, lookup
from light_peft.peft_modules import all_kinds
from light_peft.pruning.criteria import criterion_names
from light_peft.validation import CHOICES, NOT_NEGATIVE, POSITIVE, RANGES, SHARES, check

KINDS = all_kinds()
CRITERIA = criterion_names()


def good() -> Config:
    task = TaskConfig(
        name="tiny",
        formulation="classification",
        text=["sentence"],
        labels=["no", "yes"],
        metrics=["accuracy"],
        primary_metric="accuracy",
    )
    peft = PeftConfig(kind="lora", targets=["query"])
    return Config(task=task, model=ModelConfig(name="tiny"), peft=peft, prune=PruneConfig(method="light_peft"))


def changed(**values: Any) -> Config:
    """Return a good configuration with these values, `section__name=value`."""
    config = good()
    for key, value in values.items():
        *path, name = key.split("__")
        setattr(lookup(config, ".".join(path)) if path else config, name, value)
    return config


def with_value(key: str, value: Any) -> Config:
    return changed(**{key.replace(".", "__"): value})


def test_a_good_configuration_has_neither_errors_nor_warnings() -> None:
    assert check(good(), KINDS, CRITERIA) == []


@pytest.mark.parametrize("key", [*CHOICES, "peft.kind"])
def test_choices(key: str) -> None:
    with pytest.raises(ValueError, match=rf"^{key}=nonsense: must be one of \w+, \w+"):
        check(with_value(key, "nonsense"), KINDS, CRITERIA)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"prune__target__speedup": 2.0, "prune__target__blocks": 0.5},
            r"^prune\.target\.speedup=2 and prune\.target\.blocks=0\.5: one target at a time",
        ),
        (
            {"prune__target__speedup": 2.0, "runtime__sharding": "fsdp"},
            r"^prune\.target\.speedup=2: is measured on a whole model, not with runtime\.sharding=fsdp; set",
        ),
        (
            {"prune__target__memory": 0.5, "train__gradient_checkpointing": True},
            r"^prune\.target\.memory=0\.5: train\.gradient_checkpointing=true keeps something else",
        ),
        ({"prune__target__speedup": 1.0}, r"^prune\.target\.speedup=1: must be above 1"),
        ({"prune__target__memory": 1.0}, r"^prune\.target\.memory=1: a share must be in \(0, 1\)"),
    ],
)
def test_targets_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(changed(**changes), KINDS, CRITERIA)


def test_a_counted_target_goes_with_everything() -> None:
    config = changed(prune__target__blocks=0.5, runtime__sharding="fsdp", train__gradient_checkpointing=True)
    assert check(config, KINDS, CRITERIA) == []


@pytest.mark.parametrize("number", [1, 0, -3])
def test_a_choice_is_trained_on_two_candidates_or_more(number: int) -> None:
    with pytest.raises(ValueError, match=rf"^task.choice.max_train={number}: must be 2 or more"):
        check(with_value("task.choice.max_train", number), KINDS, CRITERIA)
    choice = changed(task__formulation="choice", task__labels=[], task__choice__max_train=2)
    assert not check(choice, KINDS, CRITERIA)


@pytest.mark.parametrize("key", SHARES)
@pytest.mark.parametrize("share", [-0.1, 1.0, 1.5, float("nan")])
def test_shares(key: str, share: float) -> None:
    with pytest.raises(ValueError, match=rf"^{key}={share:g}: a share must be in \[0, 1\)$"):
        check(with_value(key, share), KINDS, CRITERIA)


@pytest.mark.parametrize("key", POSITIVE)
@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
def test_what_must_be_positive(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"^{key}={value:g}: must be above 0"):
        check(with_value(key, value), KINDS, CRITERIA)


@pytest.mark.parametrize("key", NOT_NEGATIVE)
@pytest.mark.parametrize("value", [-1, float("inf"), float("nan")])
def test_what_must_not_be_negative(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"^{key}={value:g}: must not be negative"):
        check(with_value(key, value), KINDS, CRITERIA)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("peft.dropout", 1.0, r"a probability must be in \[0, 1\)"),
        ("peft.dropout", -0.1, r"a probability must be in \[0, 1\)"),
        ("estimate.window", 0.0, r"must be in \(0, 1\]"),
        ("estimate.window", 1.1, r"must be in \(0, 1\]"),
        ("estimate.steps", 10.5, "must be a whole number of steps, or a fraction below 1"),
        ("estimate.warmup", 1.5, "must be a whole number of steps, or a fraction below 1"),
        ("train.warmup", 2.5, "must be a whole number of steps, or a fraction below 1"),
    ],
)
def test_ranges(key: str, value: float, expected: str) -> None:
    with pytest.raises(ValueError, match=rf"^{key}={value:g}: {expected}$"):
        check(with_value(key, value), KINDS, CRITERIA)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[(key, 0.0) for key in (*SHARES, "peft.dropout", "train.warmup", "train.max_grad_norm")],
        *[(key, 0.999) for key in SHARES],
        *[("estimate.window", 1.0), ("estimate.steps", 0.1), ("estimate.steps", 1.0), ("estimate.steps", 800.0)],
        *[("train.max_steps", None), ("runtime.threads", None), ("estimate.learning_rate", None), ("seed", 0)],
    ],
)
def test_the_ends_of_the_ranges_are_allowed(key: str, value: float | None) -> None:
    assert check(with_value(key, value), KINDS, CRITERIA) == []


def test_the_tables_name_keys_that_exist() -> None:
    for key in (*CHOICES, *(key for keys, *_ in RANGES for key in keys)):
        lookup(good(), key)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"task__labels": ["yes"]}, r"^task\.labels=\['yes'\]: classification needs two labels"),
        ({"task__primary_metric": "f1"}, r"^task\.primary_metric=f1: must be one of task\.metrics=\['accuracy'\]"),
        (
            {"prune__threshold": "quantile", "prune__round_to": 8},
            r"^prune\.round_to=8: needs prune\.threshold=count",
        ),
        ({"peft__targets": []}, r"^peft\.targets=\[\]: name at least one projection"),
        ({"data__dir": "nowhere"}, r"^data\.dir=nowhere: no such folder"),
    ],
)
def test_contradictions(values: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        check(changed(**values), KINDS, CRITERIA)


def test_the_hub_and_a_folder_contradict_each_other(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^data\.source=hub contradicts data\.dir="):
        check(changed(data__source="hub", data__dir=str(tmp_path)), KINDS, CRITERIA)


def test_regression_needs_no_labels() -> None:
    assert check(changed(task__formulation="regression", task__labels=[]), KINDS, CRITERIA) == []


def test_all_errors_come_at_once() -> None:
    config = changed(prune__attn=2.0, train__scheduler="linea", peft__targets=[], seed=-1)
    with pytest.raises(ValueError, match="share") as raised:
        check(config, KINDS, CRITERIA)
    lines = str(raised.value).splitlines()
    assert sorted(line.split("=")[0] for line in lines) == ["peft.targets", "prune.attn", "seed", "train.scheduler"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda: changed(prune__method="none", prune__ffn=0.4), "prune.ffn=0.4 has no effect"),
        (lambda: changed(peft__kind="full"), "peft.targets=['query'] has no effect: peft=full does not read it"),
        (lambda: changed(prune__method="none", train__distill=1.0), "train.distill=1.0 has no effect: prune=none"),
        (lambda: changed(estimate__mask_lr_factor=50.0), "estimate.mask_lr_factor=50.0 has no effect: only prune.crit"),
        (lambda: changed(prune__criterion="layer", prune__ffn_scope="layer"), "prune.ffn_scope=layer has no effect"),
        (lambda: changed(prune__method="none", prune__target__blocks=0.5), "prune.target.blocks=0.5 has no effect"),
        (lambda: changed(estimate__patience=5), "estimate.patience=5 has no effect: estimate.stop=steps"),
        (lambda: changed(train__distill_temperature=1.0), "train.distill_temperature=1.0 has no effect"),
        (lambda: changed(task__span__stride=64), "task.span.stride=64 has no effect: only a span task"),
        (lambda: changed(task__choice__by="head"), "task.choice.by=head has no effect: only a choice"),
        (lambda: changed(task__prompt="{a}"), "task.prompt={a} has no effect: only a choice or a generation task"),
        (lambda: changed(task__generation__max_new_tokens=3), "task.generation.max_new_tokens=3 has no effect"),
        (
            lambda: changed(
                task__formulation="choice", task__labels=[], task__choice__by="likelihood", task__choice__max_train=3
            ),
            "task.choice.max_train=3 has no effect: task.choice.by=likelihood",
        ),
        (
            lambda: changed(task__formulation="span", task__text=["q", "c"], task__labels=[], task__span__hold_out=3),
            "task.span.hold_out=3 has no effect: task.span.no_answer=false",
        ),
        (lambda: changed(task__formulation="regression"), "task.labels=['no', 'yes'] has no effect"),
        (lambda: changed(save__predictions=True, data__max_eval_samples=9), "data.max_eval_samples=9 with save.pred"),
        (lambda: changed(train__epochs=0.5), "train.epochs=0.5: less than one pass"),
        (lambda: changed(peft__kind="full", save__model=False), "nothing that could be loaded is saved"),
    ],
)
def test_settings_without_effect_warn(change: Callable[[], Config], expected: str) -> None:
    assert any(expected in warning for warning in check(change(), KINDS, CRITERIA))


def test_each_share_without_effect_is_named() -> None:
    config = changed(
        prune__method="none", prune__attn=0.1, prune__ffn=0.2, prune__peft_module=0.3, prune__peft_rank=0.4
    )
    assert [warning.split("=")[0] for warning in check(config, KINDS, CRITERIA)] == list(SHARES)
