"""Every small model of `conf/model` goes the whole way, with sublayers lost on it, and comes back to the bit."""

import warnings
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from peft import PeftModel
from rich.console import Console

import light_peft
from light_peft import door
from light_peft.config import config_from_dict
from light_peft.model.families import all_families
from light_peft.pipeline import Run
from light_peft.session import run
from model_cases import logits, tiny_batch

FILES = sorted((door.conf_dir() / "model").glob("tiny_*.yaml"))
WORDS = ["debug=smoke", "data.max_train_samples=16", "data.max_eval_samples=8", "data.max_length=32"]
STEPS = ["train.batch_size=4", "estimate.steps=1", "train.max_steps=1", "runtime.threads=1", "runtime.device=cpu"]
SHARES = [
    "prune.ffn=0.75",
    "prune.attn=0.7",
    "prune.attn_scope=global",
    "prune.allow_empty=true",
    "prune.peft_module=0",
]


def test_every_model_type_has_a_small_model() -> None:
    types = {OmegaConf.load(path)["random"]["model_type"] for path in FILES}
    assert types == set(all_families())


@pytest.mark.parametrize("name", [path.stem for path in FILES])
def test_the_whole_way_and_back(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: dict[str, torch.Tensor] = {}

    class Watched(Run):
        def save(self) -> None:
            trained["logits"] = logits(self.model.eval(), tiny_batch())
            super().save()

    monkeypatch.setattr("light_peft.session.Run", Watched)
    door.register()
    with initialize_config_dir(str(door.conf_dir()), version_base="1.3"):
        composed = compose("config", [*WORDS, *STEPS, *SHARES, f"model={name}", f"run_dir={tmp_path / 'run'}"])
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*fan_in_fan_out.*")
        record, folder = run(config_from_dict(OmegaConf.to_container(composed, resolve=True)), Console(quiet=True))  # type: ignore[arg-type]
    assert record.status == "finished"
    assert sum(record.plan["heads"]) <= sum(record.plan["heads_before"]) / 2
    loaded = light_peft.load(folder)
    assert isinstance(loaded, PeftModel)
    assert torch.equal(logits(loaded, tiny_batch()), trained["logits"])
    merged = loaded.merge_and_unload()
    torch.testing.assert_close(logits(merged, tiny_batch()), trained["logits"], atol=1e-5, rtol=1e-4)
