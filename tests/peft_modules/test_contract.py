"""What every PEFT kind owes, on every model family: a new kind, mode or family inherits all of it."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from light_peft import door
from light_peft.config import Config, EstimateConfig
from light_peft.model import Backbone, count_parameters, describe
from light_peft.model.cut import width_out_in
from light_peft.peft_modules import all_kinds, check_model, peft_kind
from light_peft.pruning.criteria import Subject, criterion_of
from light_peft.pruning.estimate import ImportanceRecorder
from light_peft.pruning.masks import masked
from light_peft.pruning.surgery import cut_backbone
from matrix import ROUNDING, Trial, attach_random, columns, configured, try_out
from model_cases import DECODERS, SPEAKS, TINY, batch_of, logits, tiny_batch, tiny_model

BATCH = tiny_batch()
REASONS = {
    "bitfit": "have no biases",
    "miss": "is no plain Linear",
    "prefix_tuning": "takes no keys and values from outside|is more than the|not those that are left|only a classifier",
    "prompt_tuning": "finds its token by the ids|is more than the|only a classifier",
}
"""What may be said where a family and a kind do not combine; all other kinds combine with every family."""
WITH_A_LANGUAGE_MODEL_HEAD = dict.fromkeys(
    [
        *((family, "lora") for family in DECODERS),
        *((f, column) for f in ("gpt2", "llama", "opt") for column in columns()),
    ]
)
ALL = [(family, column) for family in sorted(TINY) for column in columns()]
ALL += [(family + SPEAKS, column) for family, column in WITH_A_LANGUAGE_MODEL_HEAD]
cells = pytest.mark.parametrize(("family", "column"), ALL, ids=lambda value: value.replace(" ", "-"))


@pytest.fixture(autouse=True)
def only_what_combines(request: pytest.FixtureRequest) -> None:
    """Skip the cells that are refused; a refusal that is not expected is no reason to skip."""
    cell = getattr(getattr(request.node, "callspec", None), "params", {})
    if "family" in cell and (reason := refusal_of(cell["family"], cell["column"])):
        assert re.search(REASONS.get(config_of(cell["column"]).peft.kind, "no refusal is expected"), reason), reason
        pytest.skip(reason)


@cache
def refusal_of(family: str, column: str) -> str:
    """Return why the two do not combine; empty if they do."""
    try:
        check_model(config_of(column), tiny_model(family), describe(tiny_model(family)))
    except ValueError as error:
        return str(error)
    return ""


@cache
def config_of(column: str) -> Config:
    door.register()
    return configured(*columns()[column])


@cache
def trial_of(family: str, column: str) -> Trial:
    torch.manual_seed(5)
    return try_out(
        config_of(column), tiny_model(family), {name: BATCH[name] for name in ("input_ids", "attention_mask")}
    )


def outside_head(names: Any, backbone: Backbone) -> list[str]:
    return [name for name in names if not set(backbone.head_modules) & set(name.split("."))]


def test_all_kinds_are_found() -> None:
    assert list(all_kinds()) == [
        *("adalora", "bitfit", "bottleneck", "full", "ia3", "lora", "miss", "prefix_tuning", "prompt_tuning")
    ]
    assert {config_of(column).peft.kind for column in columns()} == set(all_kinds())


@cells
def test_masked_equals_cut(family: str, column: str) -> None:
    trial = trial_of(family, column)
    before, from_masked, _ = trial.logits
    assert trial.difference < ROUNDING
    assert (before - from_masked).abs().max() > 1e-3, "the cut must have changed something"
    assert all(len(kept) < total for kept, total in zip(trial.plan.heads, trial.plan.num_heads, strict=True))


@cells
def test_taking_off_and_putting_on_is_the_identity(family: str, column: str) -> None:
    config, kind = config_of(column), peft_kind(config_of(column).peft.kind)
    torch.manual_seed(1)
    attached, backbone = attach_random(config, tiny_model(family))
    before, trained = logits(attached, BATCH), trainable(attached)
    bare, adapter = kind.take_off(attached)
    if kind.keeps_base:
        plain = tiny_model(family).state_dict()
        assert set(bare.state_dict()) == set(plain)
        assert all(torch.equal(bare.state_dict()[name], plain[name]) for name in outside_head(plain, backbone))
    again = kind.put_on(bare, adapter).eval()
    assert torch.equal(logits(again, BATCH), before)
    assert trainable(again) == trained


def trainable(model: nn.Module) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


@cells
def test_what_is_saved_comes_back_on_a_fresh_model(family: str, column: str, tmp_path: Path) -> None:
    trial = trial_of(family, column)
    trial.kind.save(trial.cut, tmp_path / "adapter", "tiny")
    if not trial.kind.keeps_base:
        assert not (tmp_path / "adapter").exists()
        return
    fresh = tiny_model(family)
    cut_backbone(fresh, trial.backbone, trial.plan, trial.cuts)
    loaded = trial.kind.load(fresh, tmp_path / "adapter")
    assert not loaded.training
    assert not trainable(loaded)
    assert torch.equal(logits(loaded, BATCH), trial.logits[2])
    assert torch.isfinite(loaded(**batch_of(family)).loss)
    if MERGES[trial.kind.__class__.__name__]:
        merged = logits(trial.kind.merge(loaded), BATCH)
        torch.testing.assert_close(merged, trial.logits[2], atol=1e-4, rtol=1e-4)
    else:
        with pytest.raises(ValueError, match="merge=true"):
            trial.kind.merge(loaded)


MERGES = dict.fromkeys(("Lora", "AdaLora", "Ia3", "Miss", "BitFit"), True) | dict.fromkeys(
    ("BottleneckAdapters", "PrefixTuning", "PromptTuning"), False
)


@cells
def test_adapter_and_head_are_trained_and_their_number_is_a_formula(family: str, column: str) -> None:
    trial, config = trial_of(family, column), config_of(column)
    cut = trial.cut.train()
    _, number = count_parameters(cut, trial.backbone.head_modules)
    if config.peft.kind != "full":
        stored = outside_head(trial.adapter.tensors, trial.backbone)
        assert number == sum(trial.adapter.tensors[name].numel() for name in stored)
        assert number == FORMULAS[config.peft.kind](config, trial)
    cut(**batch_of(family)).loss.backward()
    for name, parameter in cut.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
        else:
            assert parameter.grad is None, name
    cut.zero_grad()
    cut.eval()


def widths(trial: Trial, path: str) -> tuple[int, int]:
    """Return the input and output features of a Linear after the cut."""
    layer = trial.kind.bare(trial.cut).get_submodule(path)
    wide, narrow = width_out_in(getattr(layer, "base_layer", layer))
    return narrow, wide


def lora_size(config: Config, trial: Trial) -> int:
    sizes = ((*widths(trial, path), len(kept)) for path, kept in trial.plan.ranks.items())
    return sum(rank * (narrow + wide) + wide * config.peft.use_dora for narrow, wide, rank in sizes)


def miss_size(config: Config, trial: Trial) -> int:
    r, total = config.peft.r, 0
    for path in trial.plan.ranks:
        wide = widths(trial, path)[1]
        total += {"default": r * wide, "mini": r * config.peft.miss_mini_r, "bat": wide * r}[config.peft.miss_init]
    return total


def ia3_size(config: Config, trial: Trial) -> int:
    consumers = {site.consumer.path for site in trial.backbone.sites_of("ffn")}
    return sum(widths(trial, path)[path not in consumers] for path in trial.plan.ranks)


def bitfit_size(config: Config, trial: Trial) -> int:
    bare = trial.kind.bare(trial.cut)
    blocks = [bare.get_submodule(path) for path in trial.backbone.blocks]
    return sum(p.numel() for block in blocks for name, p in block.named_parameters() if name.endswith("bias"))


def prefix_size(config: Config, trial: Trial) -> int:
    heads = zip(trial.backbone.sites_of("attn"), trial.plan.heads, strict=True)
    return config.peft.virtual_tokens * sum(2 * len(kept) * site.consumer.size for site, kept in heads)


FORMULAS: dict[str, Callable[[Config, Trial], int]] = {
    "lora": lora_size,
    "adalora": lambda config, trial: sum(
        config.peft.init_r * (sum(widths(trial, path)) + 1) for path in trial.plan.ranks
    ),
    "miss": miss_size,
    "ia3": ia3_size,
    "bitfit": bitfit_size,
    "bottleneck": lambda config, trial: sum(
        len(kept) * (2 * widths(trial, path)[1] + 1) + widths(trial, path)[1] for path, kept in trial.plan.ranks.items()
    ),
    "prefix_tuning": prefix_size,
    "prompt_tuning": lambda config, trial: (
        config.peft.virtual_tokens * trial.kind.bare(trial.cut).get_input_embeddings().weight.shape[1]
    ),
}


@cells
@pytest.mark.parametrize("with_dropout", [True, False])
def test_every_module_has_an_importance(family: str, column: str, with_dropout: bool) -> None:
    torch.manual_seed(2)
    attached, backbone = attach_random(config_of(column), tiny_model(family))
    kind = peft_kind(config_of(column).peft.kind)
    views = kind.views(attached)
    assert bool(views) == ("module" in kind.can_prune)
    estimate = EstimateConfig(window=1.0, ratio_dropout=with_dropout)
    with masked(kind.bare(attached), backbone.sites) as masks:
        subject = Subject(kind.bare(attached), backbone, views, masks, config_of(column).prune, seed=5)
        recorder = ImportanceRecorder(subject, criterion_of("mask")(subject), estimate, 1)
        with recorder.watching(attached):
            attached(**batch_of(family)).loss.backward()
            recorder.after_backward(0)
            recorder.after_step(0)
        scores = recorder.scores()
    assert all(value > 0 for value in scores.modules.values())
    assert all(bool((ranks > 0).any()) == ("rank" in kind.can_prune) for ranks in scores.ranks.values())
