"""Pretrained Llamas with grouped queries: whole groups go, masked equals cut, and importance beats chance.

The functions are those of `scripts/language_model_cut.py`, which prints the same losses for any folder.
"""

import importlib.util
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
import torch
from transformers import PreTrainedModel

from light_peft.model import Backbone, describe
from light_peft.pruning.plan import PruningPlan, make_plan

SCRIPT = Path(__file__).parents[2] / "scripts" / "language_model_cut.py"


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("language_model_cut", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


cutting = script()


@dataclass
class Case:
    """A pretrained model, where its groups are, what stays by importance, and the text."""

    model: PreTrainedModel
    backbone: Backbone
    plan: PruningPlan
    held_out: list[torch.Tensor]


@pytest.fixture(scope="module", params=["TinyStories-656K", "stories260K"])
def case(request: pytest.FixtureRequest, shared: Callable[[str], Path]) -> Case:
    folder = str(shared(f"models/{request.param}"))
    model, stories = cutting.load(folder), cutting.stories_of(cutting.STORIES, folder)
    backbone = describe(model)
    plan = make_plan(cutting.taylor_scores(model, backbone, stories[::2]), cutting.RULE)
    return Case(model, backbone, plan, stories[1::2])


def test_pruning_keeps_whole_groups(case: Case) -> None:
    """Each of the 4 key/value heads takes its 2 query heads along, weights unchanged."""
    smaller, config = cutting.cut_copy(case.model, case.backbone, case.plan), case.model.config
    width = config.hidden_size // config.num_attention_heads
    assert (config.num_attention_heads, config.num_key_value_heads) == (8, 4)
    for before, after, kept in zip(case.model.model.layers, smaller.model.layers, case.plan.heads, strict=True):
        assert len(kept) == 3
        for name, heads in {"q_proj": 2, "k_proj": 1, "v_proj": 1}.items():
            grouped = before.self_attn.get_submodule(name).weight.unflatten(0, (4, heads * width))
            assert torch.equal(after.self_attn.get_submodule(name).weight, grouped[list(kept)].flatten(0, 1))
        grouped = before.self_attn.o_proj.weight.unflatten(1, (4, 2 * width))
        assert torch.equal(after.self_attn.o_proj.weight, grouped[:, list(kept)].flatten(1))


def test_the_cut_language_model_is_the_masked_one(case: Case) -> None:
    arguments = case.model, case.backbone, case.plan, case.held_out
    assert cutting.cut_loss(*arguments) == pytest.approx(cutting.masked_loss(*arguments), abs=2e-6)
    assert cutting.cut_loss(*arguments) > cutting.mean_loss(case.model, case.held_out)


def test_importance_beats_chance(case: Case) -> None:
    """On paragraphs that importance has not seen; of what chance adds to the loss, importance adds three quarters."""
    model, backbone = case.model, case.backbone
    plans = [make_plan(cutting.random_scores(backbone, {}, seed), cutting.RULE) for seed in cutting.RANDOM_SEEDS]
    at_random = [cutting.cut_loss(model, backbone, plan, case.held_out) for plan in plans]
    dense = cutting.mean_loss(model, case.held_out)
    added = cutting.cut_loss(model, backbone, case.plan, case.held_out) - dense
    assert added < min(at_random) - dense
    assert added < 0.75 * (statistics.mean(at_random) - dense)


def test_a_cut_language_model_still_generates(case: Case) -> None:
    """The cache of keys and values follows the number of groups."""
    smaller, start = cutting.cut_copy(case.model, case.backbone, case.plan), case.held_out[0][:, :8]
    cached, plain = (
        smaller.generate(start, max_new_tokens=8, do_sample=False, use_cache=use, pad_token_id=0)
        for use in (True, False)
    )
    assert torch.equal(cached, plain)
