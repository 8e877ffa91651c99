"""Every file under conf/ composes to a run that may start, and every knob is described, checked and read."""

import ast
import os
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from light_peft import config as config_module
from light_peft import door
from light_peft.config import Config, config_from_dict, lookup
from light_peft.peft_modules import all_kinds
from light_peft.pruning.criteria import criterion_names
from light_peft.validation import CHOICES, check

CONF = door.conf_dir()
FILES = sorted(CONF.rglob("*.yaml"))
SOURCE = Path(config_module.__file__).parent
CONTRACT = """
task model peft prune estimate train data runtime seed run_dir save evaluate
prune.attn prune.ffn prune.peft_module prune.peft_rank prune.attn_scope prune.ffn_scope prune.rank_scope
prune.fold_masks prune.round_to prune.allow_empty
estimate.steps estimate.l1_attn estimate.l1_ffn estimate.mask_lr_factor
train.epochs train.max_steps train.batch_size train.learning_rate train.warmup train.weight_decay train.scheduler
train.gradient_accumulation
data.source data.dir data.files.train data.files.validation data.max_length data.padding data.max_train_samples
data.max_eval_samples
runtime.precision runtime.device runtime.threads
save.model
"""
"""Keys that other programs set; the root's first."""


def composed(*words: str) -> Config:
    """Return what the command line `words` composes to."""
    door.register()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        values: Any = OmegaConf.to_container(compose("config", overrides=list(words)), resolve=True)
    return config_from_dict(values)


def words_for(path: Path) -> list[str]:
    """Return the words that choose this file; none for the root."""
    group = path.parent.relative_to(CONF).as_posix()
    return [] if group == "." else [f"{group}={path.stem}"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(CONF).as_posix())
def test_file_composes_to_a_run_that_may_start(path: Path) -> None:
    check(composed(*words_for(path)), all_kinds(), criterion_names())


def test_no_file_is_left_out() -> None:
    on_disk = [name for _, _, names in os.walk(CONF) for name in names]
    assert len(on_disk) == len(FILES)
    assert len({tuple(words_for(path)) for path in FILES}) == len(FILES) >= 122


def test_name_is_the_name_of_the_file() -> None:
    """Records and tables then say what to type."""
    for group in ("task", "model"):
        for path in (CONF / group).glob("*.yaml"):
            assert OmegaConf.load(path)["name"] == path.stem


def test_names_that_other_programs_rely_on() -> None:
    config = composed()
    for key in CONTRACT.split():
        lookup(config, key)


def test_the_published_method() -> None:
    config = composed("prune=reference")
    prune, estimate = config.prune, config.estimate
    assert (prune.method, prune.compare, prune.threshold) == ("light_peft", "signed", "quantile")
    assert (prune.attn_scope, prune.ffn_scope, prune.rank_scope) == ("layer", "global", "global")
    shares = prune.attn, prune.ffn, prune.peft_module, prune.peft_rank
    assert shares == pytest.approx((1 / 3, 1 / 3, 0.75, 0.5))
    assert (prune.fold_masks, prune.round_to) == (False, 1)
    assert (estimate.steps, estimate.l1_attn, estimate.l1_ffn, estimate.mask_lr_factor) == (800, 1e-4, 1e-4, 1.0)
    assert estimate.ffn_mask_lr_factor in (None, 1.0)
    assert (estimate.window, estimate.rank_score) == (0.5, "taylor")


def test_plain_peft_cuts_nothing() -> None:
    prune = composed("prune=none").prune
    assert (prune.attn, prune.ffn, prune.peft_module, prune.peft_rank) == (0, 0, 0, 0)


def test_command_line_wins_over_a_debug_file() -> None:
    config = composed("debug=smoke", "model=bert_base", "train.max_steps=3")
    assert (config.model.name, config.train.max_steps) == ("bert_base", 3)


def test_composed_values_come_back_from_a_record() -> None:
    config = composed("task=mnli", "prune=reference")
    values: Any = OmegaConf.to_container(OmegaConf.structured(config))
    assert config_from_dict(values) == config
    assert config_from_dict(values, {"data": {"max_eval_samples": 7}}).data.max_eval_samples == 7


@pytest.mark.parametrize("values", [{"sede": 1}, {"prune": {"atn": 0.1}}, {"seed": "abc"}, {"train": 3}, {}])
def test_unknown_missing_and_wrong_values_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(OmegaConfBaseException, match=r"sede|atn|Integer|TrainConfig|MISSING|missing"):
        config_from_dict(values)


def described_fields() -> Iterator[tuple[str, str, str]]:
    """Yield class, field and docstring (empty if it has none) of every knob; a section is no knob."""
    bodies = [ast.parse(path.read_text(encoding="utf-8")).body for path in sorted(SOURCE.glob("*.py"))]
    classes = [node for body in bodies for node in body if isinstance(node, ast.ClassDef)]
    for node in classes:
        for entry, below in zip(node.body, [*node.body[1:], None], strict=True):
            if not isinstance(entry, ast.AnnAssign) or not isinstance(entry.target, ast.Name):
                continue
            if ast.unparse(entry.annotation) not in [section.name for section in classes]:
                is_text = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
                yield node.name, entry.target.id, str(below.value.value) if is_text else ""


def keys(schema: type, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield class, field and dotted key of every knob; a section is no knob."""
    for entry in fields(schema):
        inner = entry.default_factory
        if isinstance(inner, type) and is_dataclass(inner):
            yield from keys(inner, f"{prefix}{entry.name}.")
        else:
            yield schema.__name__, entry.name, prefix + entry.name


def test_every_knob_is_described() -> None:
    knobs = list(described_fields())
    assert len(knobs) > 60
    for owner, knob, text in knobs:
        assert text.endswith("."), f"{owner}.{knob} has no docstring below it that ends with a dot, but {text!r}"


def test_described_choices_are_the_ones_that_are_checked() -> None:
    found = {"peft.kind": set(all_kinds()), "prune.criterion": set(criterion_names())}
    checked = {key: set(allowed) for key, allowed in CHOICES.items()} | found
    texts = {(owner, knob): text for owner, knob, text in described_fields()}
    described = {}
    for owner, knob, key in keys(Config):
        listed = re.match(r"\w+(?: \| \w+)+", re.sub(r" \([^)]*\)", "", texts[owner, knob]))
        if listed:
            described[key] = set(listed.group().split(" | "))
    assert described == checked


def test_no_knob_is_dead() -> None:
    """What is only described and checked has no effect."""
    read = set()
    for path in SOURCE.parent.rglob("*.py"):
        if path.parent != SOURCE and path.name != "validation.py":
            tree = ast.parse(path.read_text(encoding="utf-8"))
            read |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not sorted(key for _, knob, key in keys(Config) if knob not in read)
