"""Whole runs on tiny models: the record, the widths, determinism, what comes back in a new process."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from peft import PeftModel
from rich.console import Console

import light_peft
from light_peft import artifacts, door
from light_peft.config import Config, config_from_dict
from light_peft.model.head import CLASSES, SPAN
from light_peft.pipeline import Run
from light_peft.pruning.masks import masked
from light_peft.rescoring import rescore
from light_peft.session import run
from model_cases import logits, tiny_batch

QUIET = Console(quiet=True)
SMOKE = ["debug=smoke", "data.max_eval_samples=40", "runtime.threads=1"]
CONTRACT = (
    *("status", "error", "task", "model", "peft", "seed", "config", "versions", "git", "primary_metric", "score"),
    *("best_score", "metrics", "parameters", "plan", "phases", "totals"),
)
LOGITS = """
import sys, light_peft
from model_cases import tiny_batch, logits
model = light_peft.load(sys.argv[1])
batch = tiny_batch()
print(logits(model, batch).flatten().tolist())
"""


def configure(*overrides: str) -> Config:
    door.register()
    with initialize_config_dir(str(door.conf_dir()), version_base="1.3"):
        composed = compose("config", [*SMOKE, *overrides])
    values: dict[str, Any] = OmegaConf.to_container(composed, resolve=True)  # type: ignore[assignment]
    return config_from_dict(values)


def finish(folder: Path, *overrides: str) -> dict[str, Any]:
    run(configure(f"run_dir={folder}", *overrides), QUIET)
    return artifacts.read_json(folder / artifacts.RECORD)


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "pruned"
    finish(folder)
    return folder


def record_of(folder: Path) -> dict[str, Any]:
    return artifacts.read_json(folder / artifacts.RECORD)


def test_the_record_keeps_its_contract(pruned: Path) -> None:
    record = record_of(pruned)
    assert not [name for name in CONTRACT if name not in record]
    assert (record["status"], record["error"]) == ("finished", None)
    names = [f"{what}_{when}" for what in ("total", "blocks", "trainable") for when in ("before", "after")]
    assert sorted(record["parameters"]) == sorted(names)
    assert list(record["phases"]) == ["load", "estimate", "surgery", "train", "evaluate"]
    for phase in ("estimate", "train", "evaluate"):
        cost = record["phases"][phase]
        assert min(cost[name] for name in ("seconds", "steps", "examples", "tokens", "flops")) > 0
    assert record["phases"]["estimate"]["steps"] == 4
    assert record["phases"]["train"]["steps"] == 6
    assert record["totals"]["seconds"] == pytest.approx(sum(c["seconds"] for c in record["phases"].values()))


def test_what_was_cut_is_what_was_asked_for(pruned: Path) -> None:
    record = record_of(pruned)
    plan, parameters = record["plan"], record["parameters"]
    assert plan["heads"] == [3, 3]
    assert sum(plan["ffn"]) == 85
    assert len(plan["ranks"]) <= 3
    assert sum(plan["ranks"].values()) == 12
    width, inner = 32, 8
    blocks = sum(
        3 * (width * heads * inner + heads * inner) + heads * inner * width + width + 2 * width * ffn + ffn + width
        for heads, ffn in zip(plan["heads"], plan["ffn"], strict=True)
    )
    assert parameters["blocks_after"] == blocks + 2 * 4 * width
    adapter = artifacts.read_tensors(pruned / artifacts.ADAPTER / "adapter_model.safetensors")
    assert parameters["trainable_after"] == sum(t.numel() for name, t in adapter.items() if ".lora_" in name)


def test_the_same_command_twice_gives_the_same_record(pruned: Path, tmp_path: Path) -> None:
    finish(tmp_path / "again")
    first, second = comparable(record_of(pruned)), comparable(record_of(tmp_path / "again"))
    assert first == second
    one, two = (artifacts.read_json(folder / artifacts.CHECKSUMS) for folder in (pruned, tmp_path / "again"))
    assert one == two


def comparable(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record without what a clock, the memory of the process or the folder's name decides."""
    left_out = {"seconds", "part_seconds", "peak_memory_bytes", "memory_at_start_bytes", "run_dir", "sources"}

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: strip(inner) for name, inner in value.items() if name not in left_out}
        return value

    return strip(record)


RECOVERED = ["prune.refit=true", "prune.compensate_bias=true", "prune.merge_cut_peft=true"]


@pytest.mark.parametrize(
    "overrides",
    [[], ["save.model=false"], ["peft=full"], ["model=tiny_roberta"], RECOVERED, [*RECOVERED, "save.model=false"]],
)
def test_a_new_process_loads_the_same_logits_to_the_bit(tmp_path: Path, overrides: list[str]) -> None:
    folder = tmp_path / "run"
    config = configure(f"run_dir={folder}", *overrides)
    trained: dict[str, torch.Tensor] = {}

    class Watched(Run):
        def save(self) -> None:
            trained["logits"] = logits(self.model.eval(), tiny_batch())
            super().save()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("light_peft.session.Run", Watched)
        run(config, QUIET)
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", LOGITS, str(folder)], capture_output=True, text=True, check=True, cwd=here
    )
    assert json.loads(done.stdout) == trained["logits"].flatten().tolist()


def test_stock_peft_loads_the_adapter_onto_the_reloaded_base(pruned: Path) -> None:
    stock = PeftModel.from_pretrained(light_peft.load_base(pruned), str(pruned / artifacts.ADAPTER)).eval()
    assert torch.equal(logits(stock, tiny_batch()), logits(light_peft.load(pruned), tiny_batch()))
    merged = light_peft.load(pruned, merge=True)
    assert not isinstance(merged, PeftModel)
    torch.testing.assert_close(logits(merged, tiny_batch()), logits(stock, tiny_batch()), atol=1e-5, rtol=0)


def test_a_wrong_base_is_refused(pruned: Path, tmp_path: Path) -> None:
    finish(tmp_path / "dense", "prune=none")
    with pytest.raises(ValueError, match=r"wrong base model: .*shape \[32, 32\].*needs \[32, 24\]"):
        light_peft.attach_adapter(light_peft.load_base(tmp_path / "dense"), pruned)
    other = light_peft.load_base(pruned)
    with pytest.raises(ValueError, match=r"needs one with a classification head, not BertForQuestionAnswering$"):
        light_peft.attach_adapter(CLASSES[SPAN].from_config(other.config), pruned)
    next(other.bert.encoder.layer[0].parameters()).data.add_(1.0)
    with pytest.raises(ValueError, match="its weights are not those of that run"):
        light_peft.attach_adapter(other, pruned)
    with pytest.raises(RuntimeError, match="size mismatch"):
        PeftModel.from_pretrained(light_peft.load_base(tmp_path / "dense"), str(pruned / artifacts.ADAPTER))


def test_a_finished_run_is_scored_again(pruned: Path) -> None:
    assert rescore(str(pruned), {}, QUIET) == record_of(pruned)["score"]


def test_plain_peft_goes_the_same_way_and_cuts_nothing(tmp_path: Path) -> None:
    record = finish(tmp_path / "plain", "prune=none", "save.model=false")
    assert list(record["phases"]) == ["load", "estimate", "surgery", "train", "evaluate"]
    assert record["phases"]["estimate"]["seconds"] == 0.0
    parameters = record["parameters"]
    assert all(parameters[f"{name}_before"] == parameters[f"{name}_after"] for name in ("total", "blocks", "trainable"))
    assert record["plan"]["ffn"] == record["plan"]["ffn_before"]


def test_folded_masks_keep_the_function_of_the_masked_model(tmp_path: Path) -> None:
    """With everything kept and nothing forgotten the cut is the identity, whatever the masks have learned."""
    seen: list[torch.Tensor] = []

    class Watched(Run):
        def estimate(self) -> Any:
            scores = super().estimate()
            for site in self.backbone.sites:
                key = f"{site.kind}.{site.layer}"
                scores.masks[key] = torch.linspace(0.5, 1.5, site.count)
            seen.append(logits_masked(self, scores.masks))
            return scores

        def cut(self, *args: Any) -> None:
            super().cut(*args)
            seen.append(logits(self.model.eval(), tiny_batch()))

    def logits_masked(watched: Run, values: dict[str, torch.Tensor]) -> torch.Tensor:
        with masked(watched.kind.bare(watched.model), watched.backbone.sites) as masks:
            for site, mask in masks.masks.items():
                mask.data.copy_(values[f"{site.kind}.{site.layer}"])
            return logits(watched.model.eval(), tiny_batch())

    shares = [f"prune.{name}=0" for name in ("attn", "ffn", "peft_module", "peft_rank")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("light_peft.session.Run", Watched)
        finish(tmp_path / "run", *shares, "prune.criterion=mask", "prune.fold_masks=true", "save.model=false")
    torch.testing.assert_close(seen[0], seen[1], atol=2e-6, rtol=0)


@pytest.mark.parametrize("criterion", ["taylor", "lora_gradient", "layer"])
def test_a_criterion_is_an_override(tmp_path: Path, criterion: str) -> None:
    shares = ["prune.attn=0.5", "prune.ffn=0.5"]
    record = finish(tmp_path / "run", f"prune.criterion={criterion}", *shares, "save.model=false")
    kept = record["plan"]["heads"], record["plan"]["ffn"]
    assert sum(kept[0]) == 4
    assert sum(kept[1]) == 64
    if criterion == "layer":
        assert kept in (([4, 0], [64, 0]), ([0, 4], [0, 64]))


def test_the_teacher_is_the_model_before_the_cut(tmp_path: Path) -> None:
    seen: dict[str, torch.Tensor] = {}

    class Watched(Run):
        def teach(self) -> None:
            super().teach()
            row = self.train_set[0]
            inputs = {name: torch.tensor([value]) for name, value in row.items() if name not in ("labels", "teacher")}
            output = self.model.eval()(**inputs).logits
            seen.update(noted=torch.tensor([row["teacher"]]), expected=output.detach())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("light_peft.session.Run", Watched)
        record = finish(tmp_path / "run", "train.distill=0.5", "save.model=false")
    torch.testing.assert_close(seen["noted"], seen["expected"], atol=1e-5, rtol=0)
    assert record["status"] == "finished"


def test_estimation_that_has_settled_stops_and_says_so(tmp_path: Path) -> None:
    settings = ["prune.criterion=magnitude", "prune.peft_rank=0", "prune.peft_module=0"]
    settled = ["estimate.stop=settled", "estimate.steps=50", "estimate.check_every=2", "estimate.patience=2"]
    record = finish(tmp_path / "run", *settings, *settled, "save.model=false")
    assert record["phases"]["estimate"]["steps"] == 6, "checks after 2, 4 and 6 steps; magnitudes never change"
    checks = [entry for entry in record["history"] if "agreement" in entry]
    assert [entry["step"] for entry in checks] == [4, 6]
    assert checks[-1]["agreement"] == {"attn": 1.0, "ffn": 1.0, "rank": 1.0}


def test_modules_on_lost_sublayers_go_first(tmp_path: Path) -> None:
    """Whatever their scores, so that the share of modules leaves some that can learn."""

    class Watched(Run):
        def estimate(self) -> Any:
            scores = super().estimate()
            attn = (torch.ones(4), torch.zeros(4))
            lost = {name: 9.0 + value for name, value in scores.modules.items() if "layer.1.attention" in name}
            return replace(scores, attn=attn, modules=scores.modules | lost)

    shares = ["prune.attn=0.5", "prune.attn_scope=global", "prune.allow_empty=true", "prune.ffn=0", "prune.peft_rank=0"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("light_peft.session.Run", Watched)
        record = finish(tmp_path / "run", *shares, "prune.peft_module=0.67", "save.model=false")
    assert record["plan"]["heads"] == [4, 0]
    assert len(record["plan"]["ranks"]) == 4
    assert not any("layer.1.attention" in name for name in record["plan"]["ranks"])


def test_the_record_counts_what_was_held_out_to_decide_by(tmp_path: Path) -> None:
    answers = [[], [{"text": "Eiffel", "answer_start": 20}]]
    questions = [{"id": str(n), "question": "Who built it?", "answers": answers[n % 2]} for n in range(24)]
    told = [f"The tower was built Eiffel says{mark}" for mark in ".!?"]
    paragraphs = [{"context": told[n % 3], "qas": questions[n::12]} for n in range(12)]
    (tmp_path / "s.json").write_text(json.dumps({"data": [{"title": "Tower", "paragraphs": paragraphs}]}))
    files = [f"data.files.{split}={tmp_path}/s.json" for split in ("train", "validation")]
    words = ("task=squad_v2", "prune=none", "data.max_length=48", "task.span.stride=16", "train.max_steps=1")
    record = finish(tmp_path / "run", *words, *files)
    assert (record["data"]["held_out"], record["data"]["rows"]) == (8, {"train": 16, "validation": 24})
    assert list(record["calibration"]) == ["null_threshold"]
