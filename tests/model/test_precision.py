"""16-bit frozen weights: what is trained stays fp32, with and without autocast, and comes back to the bit."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console
from torch import nn
from transformers import AutoModelForSequenceClassification

import light_peft
from light_peft import door
from light_peft.config import Config, config_from_dict
from light_peft.model import describe
from light_peft.model.precision import head_in_fp32
from light_peft.peft_modules import all_kinds, peft_kind
from light_peft.pipeline import Run
from light_peft.pruning.criteria import criterion_names
from light_peft.session import run
from light_peft.validation import check
from model_cases import logits, tiny_batch, tiny_config, with_random_lora

FAMILIES = ["bert", "distilbert", "gemma3_text", "gpt2", "llama", "opt", "roberta"]


def half_precision(family: str) -> nn.Module:
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(tiny_config(family), dtype=torch.bfloat16)
    head_in_fp32(model, describe(model).head_modules)
    return with_random_lora(model)[0]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("autocast", [False, True])
def test_what_is_trained_stays_fp32(family: str, autocast: bool) -> None:
    model = half_precision(family).train()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = model(**tiny_batch()).loss
    loss.backward()
    assert torch.isfinite(loss)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.dtype == torch.float32, name
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
        elif "original_module" not in name:
            assert parameter.dtype == torch.bfloat16, name


@pytest.mark.parametrize("family", FAMILIES)
def test_the_head_survives_putting_on_and_taking_off(family: str) -> None:
    model, lora = half_precision(family), peft_kind("lora")
    before = logits(model, tiny_batch())
    assert before.dtype == torch.float32
    assert torch.equal(logits(lora.put_on(*lora.take_off(model)).eval(), tiny_batch()), before)


def test_fp32_is_left_alone() -> None:
    model = AutoModelForSequenceClassification.from_config(tiny_config("bert"))
    head_in_fp32(model, describe(model).head_modules)
    assert not any(module._forward_pre_hooks for module in model.modules())


def configure(*overrides: str) -> Config:
    door.register()
    with initialize_config_dir(str(door.conf_dir()), version_base="1.3"):
        composed = compose("config", ["debug=smoke", "data.max_eval_samples=16", "runtime.threads=1", *overrides])
    return config_from_dict(OmegaConf.to_container(composed, resolve=True))  # type: ignore[arg-type]


def test_full_fine_tuning_needs_fp32() -> None:
    with pytest.raises(ValueError, match=r"model\.dtype=bf16: peft=full trains the model's own weights"):
        check(configure("peft=full", "model.dtype=bf16"), all_kinds(), criterion_names())


@pytest.mark.parametrize("model", ["tiny_llama", "tiny_gemma3"])
@pytest.mark.parametrize("saved", ["true", "false"])
def test_a_run_comes_back_with_its_precision_to_the_bit(
    tmp_path: Path, model: str, saved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: dict[str, torch.Tensor] = {}
    dtypes: dict[str, torch.dtype] = {}

    class Watched(Run):
        def save(self) -> None:
            dtypes.update({name: parameter.dtype for name, parameter in self.model.named_parameters()})
            trained["logits"] = logits(self.model.eval(), tiny_batch())
            super().save()

    monkeypatch.setattr("light_peft.session.Run", Watched)
    words = [f"run_dir={tmp_path / 'run'}", f"model={model}", "model.dtype=bf16", f"save.model={saved}"]
    run(configure(*words), Console(quiet=True))
    loaded = light_peft.load(tmp_path / "run")
    assert {name: parameter.dtype for name, parameter in loaded.named_parameters()} == dtypes
    assert torch.equal(logits(loaded, tiny_batch()), trained["logits"])
