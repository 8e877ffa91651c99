"""Runs of decoders with their language-model head: what they score, what they save, and what comes back."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from rich.console import Console
from transformers import PreTrainedModel

import light_peft
from light_peft import artifacts, door
from light_peft.artifacts import RunRecord
from light_peft.config import Config, PeftConfig
from light_peft.loading import WEIGHTS, load_tokenizer, save_run
from light_peft.model import describe
from light_peft.model.head import CLASSIFICATION, LANGUAGE_MODEL, SPAN, ends_in
from light_peft.model.load import load_foundation
from light_peft.model.tied import own_tensors, take_tensors
from light_peft.peft_modules import peft_kind
from light_peft.rescoring import rescore
from light_peft.session import run
from matrix import composed
from model_cases import DECODERS, SPEAKS, TARGETS, logits, tiny_batch, tiny_model

QUIET = Console(quiet=True)
SMOKE = ["debug=smoke", "runtime.threads=1", "data.cache_dir=off", "data.max_length=32", "train.max_steps=3"]
TIED = {"gemma", "gemma2", "gemma3_text", "gpt2", "opt", "opt post-norm"}
COPA: list[dict[str, Any]] = [
    {"premise": "A shadow fell.", "choice1": "The sun was rising.", "choice2": "It was cut.", "question": "cause"},
    {"premise": "I was tired.", "choice1": "I ran.", "choice2": "I went to bed early.", "question": "effect"},
]
FISH = '(list (description fish) (description "a bird"))'
WEB = [{"utterance": "what does the cat eat?", "url": "", "targetValue": FISH}]


def finish(folder: Path, task: str, rows: list[dict[str, Any]], *words: str) -> RunRecord:
    """Run a task on a few rows, which are trained on and scored; return the record."""
    folder.mkdir(parents=True)
    if task == "webqs":
        data = folder / "data.json"
        data.write_text(json.dumps(rows * 6), encoding="utf-8")
    else:
        data = folder / "data.jsonl"
        lines = [json.dumps(row | {"label": i % 2, "idx": i}) for i, row in enumerate(rows * 6)]
        data.write_text("\n".join(lines) + "\n", encoding="utf-8")
    door.register()
    files = [f"data.files.train={data}", f"data.files.validation={data}", f"run_dir={folder / 'run'}"]
    record, _ = run(composed(*SMOKE, f"task={task}", *files, *words), QUIET)
    return record


class Finished(NamedTuple):
    """A finished run, and the logits of its model before anything was saved."""

    folder: Path
    record: RunRecord
    logits: torch.Tensor


@pytest.fixture(scope="module", params=["lora", "full"])
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A choice by likelihood on OPT, whose head is its input embedding."""
    folder = tmp_path_factory.mktemp("runs") / request.param
    words = [f"peft={request.param}", "model=tiny_opt", "prune.peft_module=0", "prune.peft_rank=0"]
    before: list[torch.Tensor] = []

    def look_and_save(*arguments: Any) -> Any:
        model = arguments[2].eval()
        before.append(logits(model, tiny_batch()))
        return save_run(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("light_peft.pipeline.save_run", look_and_save)
        record = finish(folder, "copa", COPA, *words)
    return Finished(folder / "run", record, before[0])


def test_a_choice_is_trained_and_scored_by_likelihood(finished: Finished) -> None:
    record = finished.record
    assert (record.status, record.head, record.primary_metric) == ("finished", LANGUAGE_MODEL, "accuracy")
    assert record.score in {number / 12 for number in range(13)}
    trained = [entry["loss"] for entry in record.history if entry["phase"] == "train" and "loss" in entry]
    assert trained
    assert record.plan["heads"] != [4, 4]


def test_what_is_saved_has_each_weight_once_and_comes_back_tied(finished: Finished) -> None:
    folder, record, _ = finished
    saved = artifacts.read_tensors(folder / artifacts.MODEL / WEIGHTS)
    assert "model.decoder.embed_tokens.weight" in saved
    assert "lm_head.weight" not in saved
    base = light_peft.load_base(folder)
    assert ends_in(base, LANGUAGE_MODEL)
    assert base.get_output_embeddings().weight is base.get_input_embeddings().weight
    own = {p.data_ptr(): p.numel() for p in base.parameters()}
    assert sum(own.values()) == record.parameters["total_after"] - record.parameters["trainable_after"] * (
        record.peft != "full"
    )


def test_a_run_comes_back_with_the_same_logits_and_answers(finished: Finished) -> None:
    folder, record, before = finished
    assert torch.equal(logits(light_peft.load(folder), tiny_batch()), before)
    merged = light_peft.load(folder, merge=True)
    torch.testing.assert_close(logits(merged, tiny_batch()), before, atol=1e-5, rtol=1e-4)
    assert rescore(str(folder), {}, QUIET) == record.score


def test_without_the_model_the_source_is_cut_again(tmp_path: Path) -> None:
    words = ["peft=lora", "model=tiny_gpt2", "save.model=false", "prune.criterion=mask"]
    record = finish(tmp_path / "slim", "copa", COPA, *words)
    folder = tmp_path / "slim" / "run"
    assert not (folder / artifacts.MODEL).exists()
    base = light_peft.load_base(folder)
    assert base.get_output_embeddings().weight is base.get_input_embeddings().weight
    assert rescore(str(folder), {}, QUIET) == record.score


def test_answers_are_generated_in_a_run(tmp_path: Path) -> None:
    words = ["peft=lora", "model=tiny_llama", "task.generation.max_new_tokens=4", "save.predictions=true"]
    record = finish(tmp_path / "writer", "webqs", WEB, *words)
    assert set(record.metrics) == {"exact_match", "token_f1"}
    folder = tmp_path / "writer" / "run"
    lines = (folder / "predictions" / "validation" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 6
    assert len({json.loads(line)["prediction"] for line in lines}) == 1, "the same question has the same answer"
    assert rescore(str(folder), {}, QUIET) == record.score
    assert load_tokenizer(folder).padding_side == "right"


@pytest.mark.parametrize("family", DECODERS)
def test_each_weight_has_one_owner_and_both_its_names_again(family: str) -> None:
    model, other = tiny_model(family + SPEAKS), tiny_model(family + SPEAKS, seed=1)
    own = own_tensors(model)
    assert ("lm_head.weight" in own) == (family not in TIED)
    assert len({tensor.data_ptr() for tensor in own.values()}) == len(own)
    take_tensors(other, {name: tensor.clone() for name, tensor in own.items()})
    assert torch.equal(logits(other, tiny_batch()), logits(model, tiny_batch()))
    assert (head_of(other) is embedding_of(other)) == (family in TIED)


def test_weights_that_were_parted_stay_so() -> None:
    """A checkpoint may hold two weights where its configuration speaks of one."""
    model, other = tiny_model("opt" + SPEAKS), tiny_model("opt" + SPEAKS, seed=1)
    model.lm_head.weight = torch.nn.Parameter(2 * model.lm_head.weight.detach())
    own = own_tensors(model)
    assert "lm_head.weight" in own
    take_tensors(other, own)
    assert head_of(other) is not embedding_of(other)
    assert torch.equal(logits(other, tiny_batch()), logits(model, tiny_batch()))


def head_of(model: PreTrainedModel) -> torch.Tensor:
    return model.get_output_embeddings().weight


def embedding_of(model: PreTrainedModel) -> torch.Tensor:
    return model.get_input_embeddings().weight


@pytest.mark.parametrize("family", DECODERS)
def test_the_head_is_no_module_that_is_trained(family: str) -> None:
    model = tiny_model(family + SPEAKS)
    backbone = describe(model)
    assert backbone.head_modules == ()
    attached = peft_kind("lora").attach(model, backbone, PeftConfig(kind="lora", targets=TARGETS))
    trained = [name for name, parameter in attached.named_parameters() if parameter.requires_grad]
    assert trained
    assert all(".lora_" in name for name in trained)


def test_a_model_ends_in_one_head() -> None:
    assert [ends_in(tiny_model("opt"), head) for head in (CLASSIFICATION, SPAN, LANGUAGE_MODEL)] == [True, False, False]
    assert [ends_in(tiny_model("opt" + SPEAKS), head) for head in (CLASSIFICATION, SPAN, LANGUAGE_MODEL)] == [
        False,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["task=webqs", "model=tiny_bert"], "task=webqs: it needs a decoder, and this model is an encoder"),
        (["task=copa", "model=tiny_bert", "task.choice.by=likelihood"], "take task.choice.by=head"),
    ],
)
def test_an_encoder_is_refused_where_a_decoder_is_needed(words: list[str], said: str) -> None:
    door.register()
    config: Config = composed(*words)
    with pytest.raises(ValueError, match="needs a decoder") as error:
        load_foundation(config.model, config.task)
    assert said in str(error.value)


@pytest.mark.parametrize("kind", ["prefix_tuning", "prompt_tuning"])
def test_virtual_tokens_are_refused_before_a_language_model(kind: str, tmp_path: Path) -> None:
    words = [f"peft={kind}", "model=tiny_gpt2", "prune=none", "peft.virtual_tokens=2"]
    with pytest.raises(ValueError, match=f"peft.kind={kind}: only a classifier"):
        finish(tmp_path / kind, "copa", COPA, *words)
