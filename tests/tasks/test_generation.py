"""Answers that a decoder writes: what it reads, when it stops, and that batches, caches and cuts change nothing."""

from typing import Any

import numpy as np
import pytest
import torch
from decoders import (
    WORDS,
    generation_task,
    letter_tokenizer,
    outputs_of,
    table,
    tiny_decoder,
    train,
    word_tokenizer,
)
from torch import nn
from transformers import GenerationConfig, PreTrainedModel

from light_peft.config import PeftConfig
from light_peft.data.batches import EXAMPLE, LENGTH, padding_words
from light_peft.data.table import Table
from light_peft.model import describe
from light_peft.model.head import LANGUAGE_MODEL
from light_peft.peft_modules import peft_kind
from light_peft.pruning.plan import PruningPlan, keep_all
from light_peft.pruning.surgery import cut_backbone, plan_cuts
from light_peft.tasks.continuation import FIRST
from light_peft.tasks.generation import Generation, all_layers_have_heads, end_tokens, stop_tokens
from light_peft.tasks.registry import formulation_of
from model_cases import DECODERS, TARGETS, with_random_lora

QUESTIONS = ["is the sky blue ?", "the grass", "the sea is not red at all . is the sea blue or green ?", "a b c"]
ANSWERS = [["blue", "sky"], "green", ["blue"], ["", "d e f"]]
BEGIN, END = WORDS.index("<s>"), WORDS.index("</s>")


def questions(**settings: Any) -> Table:
    return table(question=QUESTIONS, answers=ANSWERS, **settings)


def read(
    tokenizer: Any, *, training: bool = False, rows: Table | None = None, **settings: Any
) -> tuple[Generation, Any, Any]:
    formulation = Generation(generation_task(**settings))
    examples = formulation.examples(rows or questions(), labelled=True)
    return formulation, examples, formulation.features(examples, tokenizer, max_length=16, training=training)


# What is read


def test_examples_hold_texts_and_accepted_answers() -> None:
    formulation = formulation_of(generation_task(idx="id"), LANGUAGE_MODEL)
    assert isinstance(formulation, Generation)
    assert formulation.columns(labelled=True) == ["question", "id", "answers"]
    examples = formulation.examples(questions(id=range(4)), labelled=True)
    assert examples["label"][:] == [["blue", "sky"], ["green"], ["blue"], ["", "d e f"]]
    assert examples["idx"][:] == ["0", "1", "2", "3"]
    assert formulation.examples(questions(id=range(4)), labelled=False).column_names == ["question", "idx"]


@pytest.mark.parametrize("answers", [[], "", ["", " "], None, 3, [3]])
def test_an_example_without_an_answer_is_named_with_its_place(answers: Any) -> None:
    rows = table(question=["a", "b"], answers=["fine", answers])
    with pytest.raises(ValueError, match=r"^dev\.jsonl, line 2: answers is "):
        Generation(generation_task()).examples(rows, labelled=True)


def test_in_training_the_answer_and_its_end_follow_the_prompt() -> None:
    tokenizer = word_tokenizer()
    _, _, features = read(tokenizer, training=True, prompt="question : {question}\nanswer :")
    texts = tokenizer.batch_decode(features["input_ids"][:])
    assert texts[1] == "<s> question : the grass answer : green </s>"
    assert texts[3] == "<s> question : a b c answer : d e f </s>"
    assert texts[2].endswith("is the sea blue <unk> green ? answer : blue </s>")
    assert features[LENGTH][:] == [len(ids) for ids in features["input_ids"][:]] == [12, 9, 14, 12]
    assert features[FIRST][:] == [10, 7, 12, 8]


def test_in_training_and_in_evaluation_the_prompts_are_the_same(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = word_tokenizer()
    _, _, training = read(tokenizer, training=True, max_new_tokens=3)
    _, _, features = read(tokenizer, max_new_tokens=3)
    prompts = [ids[:first] for ids, first in zip(training["input_ids"][:], training[FIRST][:], strict=True)]
    assert prompts == features["input_ids"][:]
    assert tokenizer.decode(training[3]["input_ids"]) == "<s> a b c d e f", "no room is left for its end"
    assert "1 answers were longer than 3 tokens and cut" in caplog.text


def test_a_prompt_leaves_room_for_the_answer() -> None:
    tokenizer = word_tokenizer()
    _, _, features = read(tokenizer)
    assert max(features[LENGTH][:]) == 12
    assert tokenizer.decode(features[2]["input_ids"]) == "<s> red at all <unk> is the sea blue <unk> green ?"
    assert features[EXAMPLE][:] == [0, 1, 2, 3]
    assert FIRST not in features.column_names
    with pytest.raises(ValueError, match=r"task\.generation\.max_new_tokens=15: .* data\.max_length=16"):
        read(tokenizer, max_new_tokens=15)


def test_the_loss_is_the_models_own_on_answers_and_ends() -> None:
    model, tokenizer = tiny_decoder(), word_tokenizer()
    formulation, _, features = read(tokenizer, training=True)
    rows = features.remove_columns([name for name in features.column_names if name.startswith("_")])
    batch = formulation.collate(tokenizer, training=True, **padding_words("dynamic", 0))(list(rows))
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    labels[torch.arange(labels.shape[1]) < torch.tensor(features[FIRST][:]).unsqueeze(1)] = -100
    assert (labels == END).sum() == 4, "padding is no end"
    whole = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss
    assert formulation.loss(model, batch).item() == pytest.approx(whole.item(), rel=1e-5)


# What is written


@torch.no_grad()
def written_alone(model: nn.Module, ids: list[int], most: int) -> list[int]:
    """Return the most likely tokens one after the other, each from the whole text anew, up to the end."""
    written: list[int] = []
    while len(written) < most:
        token = int(model(input_ids=torch.tensor([ids + written]), use_cache=False).logits[0, -1].argmax())
        if token == END:
            break
        written.append(token)
    return written


def padded(rows: list[list[int]], most: int) -> list[list[int]]:
    return [row + [-1] * (most - len(row)) for row in rows]


def cut(model: PreTrainedModel, *, emptied: tuple[int, ...]) -> PreTrainedModel:
    """Return `model`, one head of each layer but the first cut, and all of the `emptied` layers'."""
    backbone = describe(model)
    whole = keep_all([s.count for s in backbone.sites_of("attn")], [s.count for s in backbone.sites_of("ffn")], {})
    heads = tuple(() if layer in emptied else kept[layer > 0 :] for layer, kept in enumerate(whole.heads))
    plan = PruningPlan(**vars(whole) | {"heads": heads})
    cut_backbone(model, backbone, plan, plan_cuts(backbone, plan))
    return model


@pytest.mark.parametrize("family", DECODERS)
@pytest.mark.parametrize("emptied", [(), (0,), (1, 2)], ids=["uneven", "first-empty", "last-empty"])
def test_in_a_padded_batch_the_same_is_written_as_alone(family: str, emptied: tuple[int, ...]) -> None:
    model, tokenizer = cut(tiny_decoder(family), emptied=emptied), word_tokenizer()
    assert all_layers_have_heads(model) == (not emptied)
    formulation, _, features = read(tokenizer, max_new_tokens=6)
    outputs = outputs_of(formulation, model, features, tokenizer)
    alone = [written_alone(model, ids, 6) for ids in features["input_ids"][:]]
    assert outputs.tolist() == padded(alone, 6)
    assert len({tuple(row) for row in alone}) > 1, "the answers depend on the questions"


@pytest.mark.parametrize("kind", ["lora", "bitfit", "bottleneck", "full", "ia3"])
def test_the_adapter_writes_along(kind: str) -> None:
    tokenizer, bare = word_tokenizer(), tiny_decoder("opt")
    formulation, _, features = read(tokenizer, max_new_tokens=6)
    plain = outputs_of(formulation, bare, features, tokenizer)
    config = PeftConfig(kind=kind, dropout=0.0, targets=TARGETS)
    torch.manual_seed(0)
    model = peft_kind(kind).attach(bare, describe(bare), config).eval()
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter) * parameter.requires_grad
    outputs = outputs_of(formulation, model, features, tokenizer)
    assert outputs.tolist() == padded([written_alone(model, ids, 6) for ids in features["input_ids"][:]], 6)
    assert outputs.tolist() != plain.tolist()


def test_the_publishers_way_of_writing_is_set_aside_and_kept() -> None:
    model, tokenizer = tiny_decoder(), word_tokenizer()
    formulation, _, features = read(tokenizer, max_new_tokens=6)
    plain = outputs_of(formulation, model, features, tokenizer)
    own = GenerationConfig(do_sample=True, temperature=3.0, repetition_penalty=9.0, suppress_tokens=[*range(20)])
    model.generation_config = own
    assert outputs_of(formulation, model, features, tokenizer).tolist() == plain.tolist()
    assert model.generation_config is own


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (["blue", "sky"], "blue sky"),
        (["blue", "</s>"], "blue"),
        ([], ""),
    ],
)
def test_answers_are_decoded_up_to_their_end(written: list[str], expected: str) -> None:
    tokenizer = word_tokenizer()
    formulation, examples, features = read(tokenizer, rows=questions().take([0]))
    formulation.collate(tokenizer, training=False)
    ids = [WORDS.index(word) for word in written]
    answers = formulation.answers(np.array(padded([ids], 4)), features, examples, {})
    assert answers.predictions == [expected]
    assert answers.references == [["blue", "sky"]]


def test_of_what_is_written_the_first_line_is_the_answer() -> None:
    tokenizer = letter_tokenizer()
    formulation, examples, features = read(tokenizer, rows=table(question=["a"], answers=["b"]), text=["question"])
    formulation.collate(tokenizer, training=False)
    ids = tokenizer("\n ab c \nde")["input_ids"]
    answers = formulation.answers(np.array([[*ids, -1, -1]]), features, examples, {})
    assert answers.predictions == ["ab c"]


def test_writing_ends_at_the_end_of_the_text_or_else_of_the_line() -> None:
    assert (end_tokens(word_tokenizer()), stop_tokens(word_tokenizer())) == ([END], [END])
    only_separator = word_tokenizer(eos_token=None, sep_token="</s>")
    assert (end_tokens(only_separator), stop_tokens(only_separator)) == ([END], [END])
    tokenizer = letter_tokenizer(("a", "\n"))
    line, with_letter = tokenizer.convert_tokens_to_ids(["\n", "a\n"])
    assert end_tokens(tokenizer) == [line]
    assert stop_tokens(tokenizer) == [line, with_letter]
    assert stop_tokens(word_tokenizer(eos_token=None)) == [], "where there is neither, only the length ends it"


def test_a_decoder_learns_to_answer() -> None:
    model, tokenizer = tiny_decoder(), word_tokenizer()
    formulation, examples, training = read(tokenizer, training=True)
    losses = train(formulation, model, training, tokenizer, steps=40, rate=3e-3)
    assert losses[-1] < 0.1 * losses[0]
    features = formulation.features(examples, tokenizer, max_length=16, training=False)
    answers = formulation.answers(outputs_of(formulation, model.eval(), features, tokenizer), features, examples, {})
    assert answers.predictions == ["blue", "green", "blue", "d e f"]


def test_in_half_precision_it_writes_too() -> None:
    """Weights of the model in bf16 and LoRA in fp32, as runs have them."""
    model, tokenizer = tiny_decoder(), word_tokenizer()
    formulation, _, features = read(tokenizer, max_new_tokens=6)
    adapted, _ = with_random_lora(model.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        outputs = outputs_of(formulation, adapted, features, tokenizer)
    assert outputs.shape == (4, 6)
    assert ((outputs >= -1) & (outputs < 50)).all()
