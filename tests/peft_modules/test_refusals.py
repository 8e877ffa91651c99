"""What a kind cannot do is said before anything is attached, with key, value and the way out."""

import re
from dataclasses import replace
from typing import Any

import pytest
from torch import nn

from light_peft import door
from light_peft.model import describe
from light_peft.peft_modules import all_kinds, check_model
from light_peft.pruning.criteria import criterion_names
from light_peft.validation import check
from matrix import configured
from model_cases import tiny_model


def config_of(*words: str) -> Any:
    door.register()
    return configured(*words)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["peft=ia3", "prune.peft_rank=0.5"],
            "prune.peft_rank=0.5: peft=ia3 has no ranks to prune; set prune.peft_rank=0",
        ),
        (["peft=full", "prune.peft_module=0.5"], "prune.peft_module=0.5: peft=full has no modules to prune"),
        (["peft=bitfit", "prune.peft_module=0.5"], "prune.peft_module=0.5: peft=bitfit has no modules to prune"),
        (["peft=adalora", "prune.peft_rank=0.5"], "prune.peft_rank=0.5: peft=adalora has no ranks to prune"),
        (["peft=adalora", "peft.init_r=4"], "peft.init_r=4: must be at least peft.r=8"),
        (["peft=adalora", "peft.tinit=0.7"], "peft.tinit=0.7 and peft.tfinal=0.3: must sum to less than 1"),
        (["peft=adalora", "train.max_steps=1"], "train.max_steps=1: too short for peft=adalora; it needs 2 or more"),
        (["peft=bitfit", "prune.compensate_bias=true"], "prune.compensate_bias=true: peft=bitfit trains those biases"),
        (["peft=dora", "prune.refit=true"], "prune.refit=true: peft.use_dora=true divides by the norm"),
        (["peft=prefix_tuning", "prune.criterion=layer"], "prune.criterion=layer: prefix_tuning needs equally many"),
        (["peft=ia3", "peft.targets=[]"], "peft.targets=[]: name at least one projection"),
        (
            ["peft=miss", "peft.miss_init=bat", "peft.dropout=0.1"],
            "peft.dropout=0.1: peft.miss_init=bat has no dropout",
        ),
        (
            ["peft=prefix_tuning", "prune.attn_scope=global"],
            "prune.attn_scope=global: prefix_tuning needs equally many",
        ),
        (
            ["peft=prefix_tuning", "prune.threshold=quantile"],
            "prune.threshold=quantile: prefix_tuning needs equally many",
        ),
        (["peft=prefix_tuning", "prune.allow_empty=true"], "set prune.allow_empty=false or prune.attn=0"),
        (["peft=full", "runtime.sharding=fsdp"], "peft=full trains the model's own; set runtime.sharding=none"),
        (["peft=bottleneck", "peft.activation=elu"], "peft.activation=elu: must be one of relu"),
    ],
)
def test_configurations(words: list[str], expected: str) -> None:
    with pytest.raises(ValueError, match=re.escape(expected)):
        check(config_of(*words), all_kinds(), criterion_names())


def test_without_pruning_nothing_of_it_is_refused() -> None:
    for name in all_kinds():
        check(config_of(f"peft={name}", "prune=none", "prune.attn_scope=global"), all_kinds(), criterion_names())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["peft.targets=[output]", "prune.criterion=mask"],
            "prune.fold_masks=true: miss on output cannot follow; set prune.fold_masks=false or",
        ),
        (
            ["peft.targets=[output]", "prune.fold_masks=false"],
            "prune.ffn=0.333333: miss on output shares its increment",
        ),
        (
            ["peft.targets=[attn_output]", "prune.fold_masks=false", "peft.r=4"],
            "groups of 4 features, and a cut takes 6",
        ),
        (
            ["peft.miss_init=mini", "peft.miss_mini_r=5"],
            "peft.miss_mini_r=5: query has 24 outputs; take a divisor of it",
        ),
        (["peft.miss_init=bat", "peft.r=5"], "peft.r=5: query has 24 inputs; take a divisor of it"),
        (["peft.r=30"], "peft.r=30: query has 24 inputs"),
    ],
)
def test_miss_that_a_cut_would_break(words: list[str], expected: str) -> None:
    model = tiny_model("bert")
    with pytest.raises(ValueError, match=re.escape(expected)):
        check_model(config_of("peft=miss", *words), model, describe(model))


def test_miss_on_whole_heads_is_allowed() -> None:
    model = tiny_model("bert")
    words = ["peft=miss", "peft.targets=[attn_output]", "prune.fold_masks=false", "peft.r=3"]
    check_model(config_of(*words), model, describe(model))


def test_bitfit_needs_biases() -> None:
    model = tiny_model("bert")
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.LayerNorm):
            module.register_parameter("bias", None)
    with pytest.raises(ValueError, match=r"peft\.kind=bitfit: the blocks of 'bert' have no biases"):
        check_model(config_of("peft=bitfit"), model, describe(model))


@pytest.mark.parametrize("kind", ["prefix_tuning", "prompt_tuning"])
def test_virtual_tokens_need_positions(kind: str) -> None:
    model = tiny_model("bert")
    with pytest.raises(ValueError, match=r"peft\.virtual_tokens=4: with data\.max_length=37 that is more than the 40"):
        check_model(config_of(f"peft={kind}", "data.max_length=37"), model, describe(model))


def test_prompt_tuning_refuses_a_head_that_looks_for_its_token() -> None:
    model = tiny_model("bert")
    backbone = replace(describe(model), head_modules=("score",))
    with pytest.raises(ValueError, match="finds its token by the ids of the text"):
        check_model(config_of("peft=prompt_tuning"), model, backbone)


@pytest.mark.parametrize(
    ("words", "warning"),
    [
        (["peft=ia3", "peft.r=4"], "peft.r=4 has no effect: peft=ia3 does not read it"),
        (["peft=bottleneck", "peft.targets=[query]"], "peft.targets=['query'] has no effect: peft=bottleneck"),
        (["peft=lora", "peft.placement=pfeiffer"], "peft.placement=pfeiffer has no effect: peft=lora"),
        (["peft=full", "peft.use_dora=true"], "peft.use_dora=True has no effect: peft=full"),
    ],
)
def test_settings_that_a_kind_does_not_read_warn(words: list[str], warning: str) -> None:
    assert any(text.startswith(warning) for text in check(config_of(*words), all_kinds(), criterion_names()))
