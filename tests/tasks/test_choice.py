"""A choice among candidates: what is read, how candidates are scored, and which answers follow."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from decoders import (
    choice_task,
    letter_tokenizer,
    outputs_of,
    table,
    tiny_decoder,
    train,
    word_tokenizer,
)
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from transformers import AutoModelForSequenceClassification

from light_peft.config import ModelConfig, TaskConfig
from light_peft.data.batches import EXAMPLE, LENGTH, padding_words
from light_peft.data.table import Table
from light_peft.model.head import CLASSIFICATION, LANGUAGE_MODEL
from light_peft.model.load import load_foundation
from light_peft.tasks.candidates import best_of_each, sample
from light_peft.tasks.choice_head import CANDIDATES, RIGHT, ChoiceByHead
from light_peft.tasks.choice_likelihood import ChoiceByLikelihood
from light_peft.tasks.continuation import ASKED, FIRST
from light_peft.tasks.registry import formulation_of
from model_cases import DECODERS, tiny_config

QUESTIONS = ["is the sky blue ?", "is grass red ?", "is the sea blue ?"]
CHOICES = [["yes", "no", "maybe not at all"], ["yes", "no"], ["no", "yes at all", "a b c d e", "maybe"]]
LABELS = [0, 1, 1]


def small(**settings: Any) -> Table:
    return table(question=QUESTIONS, choices=CHOICES, label=LABELS, **settings)


def without_notes(features: Any) -> Any:
    return features.remove_columns([name for name in features.column_names if name.startswith("_")])


# What is read


def test_the_head_decides_how_candidates_are_compared() -> None:
    assert isinstance(formulation_of(choice_task(), CLASSIFICATION), ChoiceByHead)
    assert isinstance(formulation_of(choice_task(), LANGUAGE_MODEL), ChoiceByLikelihood)


def test_examples_hold_texts_candidates_and_the_right_ones() -> None:
    task = choice_task(idx="id", group="of")
    formulation = ChoiceByHead(task)
    assert formulation.columns(labelled=True) == ["question", "choices", "id", "of", "label"]
    examples = formulation.examples(small(id=[7, 8, 9], of=["x", "x", "y"]), labelled=True)
    assert examples[:] == {
        "question": QUESTIONS,
        "choices": CHOICES,
        "label": [[0], [1], [1]],
        "idx": ["7", "8", "9"],
        "group": ["x", "x", "y"],
    }
    assert "label" not in formulation.examples(small(id=[7, 8, 9], of="xxy"), labelled=False).column_names


@pytest.mark.parametrize(("label", "right"), [(0, 0), ("1", 1), ("choice2", 1), (" 0 ", 0), ("choice1", 0)])
def test_a_label_is_a_number_or_the_name_of_the_candidates_column(label: Any, right: int) -> None:
    formulation = ChoiceByHead(choice_task(columns=["choice1", "choice2"]))
    examples = formulation.examples(
        table(question=["?"], choice1=["yes"], choice2=["no"], label=[label]), labelled=True
    )
    assert examples["choices"][0] == ["yes", "no"]
    assert examples["label"][0] == [right]


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (2, "label is 2, must be a number from 0 to 1, or one of: choice1, choice2"),
        ("A", "label is 'A', must be a number from 0 to 1"),
        (True, "label is True, must be"),
        (1.0, "label is 1.0, must be"),
        (None, "label is None, must be"),
        ("1²", "label is '1²', must be"),
        (-1, "label is -1, a hidden test label"),
        ("-1", "label is -1, a hidden test label"),
    ],
)
def test_a_wrong_label_is_named_with_its_place(label: Any, said: str) -> None:
    formulation = ChoiceByHead(choice_task(columns=["choice1", "choice2"]))
    rows = table(question=["?", "?"], choice1=["yes"] * 2, choice2=["no"] * 2, label=[0, label])
    with pytest.raises(ValueError, match=r"^dev\.jsonl, line 2: ") as error:
        formulation.examples(rows, labelled=True)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("choices", [], "choices holds 0 candidates, must be 1 or more"),
        ("choices", "yes", "choices is 'yes', must be a list of strings"),
        ("choices", ["yes", 3], "choices is ['yes', 3], must be a list of strings"),
        ("choices", ["yes", " "], "choices holds an empty candidate among ['yes', ' ']"),
        ("question", None, "question is None, must be a string"),
        ("names", ["one"], "names holds 1 names, must be 2, one per candidate"),
        ("answers", [], "answers is [], which holds no answer"),
        ("answers", None, "answers is None, must be a list of strings"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(column: str, value: Any, said: str) -> None:
    columns = {"question": "?", "choices": ["yes", "no"], "names": ["one", "two"], "answers": ["two"]}
    rows = table(**{name: [good, value if name == column else good] for name, good in columns.items()})
    with pytest.raises(ValueError, match=r"^dev\.jsonl, line 2: ") as error:
        ChoiceByHead(choice_task(names="names", label="answers")).examples(rows, labelled=True)
    assert said in str(error.value)


def test_one_candidate_alone_is_a_mistake_but_where_they_are_named_things_of_a_text() -> None:
    rows = table(question=["?"], choices=[["yes"]], names=[["one"]], answers=[["one"]], label=[0])
    with pytest.raises(ValueError, match="choices holds 1 candidates, must be 2 or more"):
        ChoiceByHead(choice_task()).examples(rows, labelled=True)
    named = ChoiceByHead(choice_task(names="names", label="answers")).examples(rows, labelled=True)
    assert named["label"][:] == [[0]]


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("Question: {question", "a brace that is meant as such is doubled"),
        ("Question: {}", "braces must hold just the name of a column"),
        ("Question: {question:>8}", "braces must hold just the name of a column"),
        ("Question: {question!r}", "braces must hold just the name of a column"),
        ("Question:", "it names no column"),
    ],
)
def test_a_wrong_prompt_is_refused(prompt: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"^task\.prompt=") as error:
        ChoiceByLikelihood(choice_task(prompt=prompt)).columns(labelled=True)
    assert said in str(error.value)


def test_a_prompt_says_what_is_read_before_a_candidate() -> None:
    tokenizer, texts = word_tokenizer(), table(question=["the sky"], more=["blue"], choices=[["yes", "no"]], label=[0])

    def read(**settings: Any) -> str:
        formulation = ChoiceByLikelihood(choice_task(**settings))
        assert set(formulation.columns(labelled=False)) == {"question", "more", "choices"}
        features = formulation.features(
            formulation.examples(texts, labelled=True), tokenizer, max_length=32, training=False
        )
        return str(tokenizer.decode(features[0]["input_ids"]))

    assert read(text=["question", "more"]) == "<s> the sky blue yes"
    assert read(text=["question"], prompt="question : {question} {more} ?\nanswer :") == (
        "<s> question : the sky blue ? answer : yes"
    )


# By a head


class Scorer(nn.Module):
    """The score of a candidate is the mean of its token ids, over a hundred."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.01))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any) -> Any:
        mean = (input_ids * attention_mask).sum(dim=1) / attention_mask.sum(dim=1)
        return SimpleNamespace(logits=(mean * self.scale).unsqueeze(1))


def head_features(task: TaskConfig, rows: Table, *, training: bool) -> tuple[ChoiceByHead, Any, Any]:
    formulation = ChoiceByHead(task)
    examples = formulation.examples(rows, labelled=True)
    return formulation, examples, formulation.features(examples, word_tokenizer(), max_length=24, training=training)


def test_a_head_reads_each_candidate_behind_its_context() -> None:
    _, _, features = head_features(choice_task(), small(), training=False)
    assert features[EXAMPLE][:] == [0, 0, 0, 1, 1, 2, 2, 2, 2]
    tokenizer = word_tokenizer()
    texts = tokenizer.batch_decode(features["input_ids"][:])
    assert texts[1] == "<s> is the sky blue ? no"
    assert texts[6] == "<s> is the sea blue ? yes at all"
    assert features[LENGTH][:] == [len(ids) for ids in features["input_ids"][:]]


def test_a_long_prompt_loses_its_beginning_before_a_head_too_but_a_text_its_end() -> None:
    rows, tokenizer = table(question=[" ".join("abcdefghi")], choices=[["yes", "no"]], label=[0]), word_tokenizer()

    def read(**settings: Any) -> list[str]:
        formulation = ChoiceByHead(choice_task(**settings))
        examples = formulation.examples(rows, labelled=True)
        features = formulation.features(examples, tokenizer, max_length=8, training=False)
        return list(tokenizer.batch_decode(features["input_ids"][:]))

    assert read(prompt="{question} ?")[0] == "<s> e f g h i ? yes"
    assert read()[0] == "<s> a b c d e f yes"
    assert tokenizer.truncation_side == "right"


def test_a_training_batch_holds_all_candidates_of_its_examples() -> None:
    formulation, _, features = head_features(choice_task(), small(), training=True)
    assert len(features) == 3
    assert features[LENGTH][:] == [max(map(len, own)) for own in features["input_ids"][:]]
    batch = formulation.collate(word_tokenizer(), training=True)(list(without_notes(features)))
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (9, 11)
    assert batch[CANDIDATES].tolist() == [[0, 1, 2, -1], [3, 4, -1, -1], [5, 6, 7, 8]]
    assert batch[RIGHT].tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0]]


def test_the_loss_is_the_marginal_likelihood_of_the_right_candidates() -> None:
    rows = table(question=QUESTIONS, choices=CHOICES, names=CHOICES, label=[["yes", "no"], ["no"], ["maybe", "no"]])
    formulation, examples, features = head_features(choice_task(names="names"), rows, training=True)
    assert examples["label"][:] == [[0, 1], [1], [0, 3]]
    model = Scorer()
    loss = formulation.loss(model, formulation.collate(word_tokenizer(), training=True)(list(without_notes(features))))
    expected = 0.0
    for candidates, right in zip(features["input_ids"][:], examples["label"][:], strict=True):
        weights = [math.exp(0.01 * sum(ids) / len(ids)) for ids in candidates]
        expected -= math.log(sum(weights[number] for number in right) / sum(weights)) / 3
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert torch.isfinite(model.scale.grad).all()


def test_answers_are_the_best_candidates() -> None:
    formulation, examples, features = head_features(choice_task(), small(), training=False)
    outputs = outputs_of(formulation, Scorer(), features, word_tokenizer())
    means = [sum(ids) / len(ids) for ids in features["input_ids"][:]]
    assert outputs == pytest.approx([0.01 * mean for mean in means], rel=1e-5)
    answers = formulation.answers(outputs, features, examples, {})
    assert answers.predictions == [np.argmax(means[0:3]), np.argmax(means[3:5]), np.argmax(means[5:9])]
    assert answers.references == LABELS
    hidden = formulation.answers(outputs, features, examples.remove_columns("label"), {})
    assert (hidden.predictions, hidden.references) == (answers.predictions, None)


@given(st.lists(st.lists(st.integers(-3, 3), min_size=1, max_size=5), min_size=1, max_size=6))
def test_the_first_of_the_largest_values_wins(groups: list[list[int]]) -> None:
    values = np.array([value for group in groups for value in group], dtype=np.float32)
    example = np.repeat(np.arange(len(groups)) * 3, [len(group) for group in groups])
    assert best_of_each(values, example) == [group.index(max(group)) for group in groups]


def test_an_example_without_a_right_candidate_is_answered_but_not_trained_on(caplog: pytest.LogCaptureFixture) -> None:
    names = [["The Yes", "The No", "A Maybe"], ["Yes", "No"], ["n", "y", "a", "m"]]
    accepted = [["The No", "No."], ["Neither"], ["m", "a"]]
    rows = table(question=QUESTIONS, choices=CHOICES, names=names, answers=accepted)
    task = choice_task(names="names", label="answers")
    formulation, examples, features = head_features(task, rows, training=True)
    assert examples["label"][:] == [[1], [], [2, 3]]
    assert features[EXAMPLE][:] == [0, 2]
    assert "1 training examples are left out" in caplog.text
    _, _, features = head_features(task, rows, training=False)
    answers = formulation.answers(np.array([0, 2, 1, 5, 4, 0, 0, 9, 1.0]), features, examples, {})
    assert answers.predictions == ["The No", "Yes", "a"]
    assert answers.references == accepted
    with pytest.raises(ValueError, match="no training example has an accepted answer"):
        head_features(task, rows.take([1]), training=True)


def test_a_sample_of_candidates_keeps_a_right_one_and_is_the_same_again() -> None:
    drawn = [sample([17, 23], 40, 5, number) for number in range(200)]
    assert all(len(set(own)) == 5 and own == sorted(own) and {17, 23} & set(own) for own in drawn)
    assert drawn == [sample([17, 23], 40, 5, number) for number in range(200)]
    seen = [candidate for own in drawn for candidate in own]
    assert set(seen) == set(range(40)), "all candidates have their turn"
    assert sample([1], 3, 5, 0) == sample([1], 3, None, 0) == [0, 1, 2]
    _, _, features = head_features(choice_task(max_train=2), small(), training=True)
    assert [len(own) for own in features["input_ids"][:]] == [2, 2, 2]
    assert [sum(own) for own in features[RIGHT][:]] == [1, 1, 1]


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_a_head_learns_to_choose(family: str) -> None:
    torch.manual_seed(0)
    config = tiny_config(family)
    config.num_labels = 1
    model = AutoModelForSequenceClassification.from_config(config).eval()
    formulation, examples, features = head_features(choice_task(), small(), training=True)
    losses = train(formulation, model, features, word_tokenizer(), steps=60, rate=1e-3)
    assert losses[-1] < 0.1 * losses[0]
    _, _, features = head_features(choice_task(), small(), training=False)
    answers = formulation.answers(outputs_of(formulation, model, features, word_tokenizer()), features, examples, {})
    assert answers.predictions == LABELS


# By likelihood


def likelihood_features(
    tokenizer: Any, rows: Table, *, training: bool = False, **settings: Any
) -> tuple[Any, Any, Any]:
    formulation = ChoiceByLikelihood(choice_task(**settings))
    examples = formulation.examples(rows, labelled=True)
    return formulation, examples, formulation.features(examples, tokenizer, max_length=24, training=training)


@torch.no_grad()
def alone(model: nn.Module, ids: list[int], first: int) -> float:
    """Return the log-likelihood of the tokens from `first` on, from all logits of one unpadded text."""
    log_probs_TV = F.log_softmax(model(input_ids=torch.tensor([ids])).logits[0].float(), dim=-1)
    return float(sum(log_probs_TV[place - 1, ids[place]] for place in range(first, len(ids))))


@pytest.mark.parametrize("family", DECODERS)
def test_in_a_padded_batch_a_candidate_scores_as_alone(family: str) -> None:
    model, tokenizer = tiny_decoder(family), word_tokenizer()
    formulation, _, features = likelihood_features(tokenizer, small())
    outputs = outputs_of(formulation, model, features, tokenizer, size=5)
    expected = [alone(model, row["input_ids"], row[FIRST]) for row in features]
    assert len({len(row["input_ids"]) for row in features}) > 3, "lengths differ, so there is padding"
    assert outputs == pytest.approx(expected, abs=1e-4)


def test_the_loss_is_the_models_own_on_the_right_candidates() -> None:
    model, tokenizer = tiny_decoder(), word_tokenizer()
    formulation, _, features = likelihood_features(tokenizer, small(), training=True)
    assert tokenizer.batch_decode(features["input_ids"][:])[2] == "<s> is the sea blue ? yes at all"
    batch = formulation.collate(tokenizer, training=True, **padding_words("dynamic", 0))(list(without_notes(features)))
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    labels[torch.arange(labels.shape[1]) < torch.tensor(features[FIRST][:]).unsqueeze(1)] = -100
    whole = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss
    assert formulation.loss(model, batch).item() == pytest.approx(whole.item(), rel=1e-5)
    assert batch[ASKED].tolist() == list(range(min(features[FIRST][:]) - 1, 15)), "no logits of the prompts alone"


def test_a_prompt_has_the_same_tokens_whatever_follows_and_a_candidate_all_of_its_own() -> None:
    """One tokenizer gives the space to the word behind it, one to the word before, and merges letters over it."""
    rows = table(question=["ab: ", "ab:", "a\n"], choices=[["ba", " ca "]] * 3, label=[0, 0, 0])
    prompts = {(" ", "b"): "ab:", (":", " "): "ab: "}
    for merge, prompt in prompts.items():
        tokenizer = letter_tokenizer(merge, (": ", "b")) if merge[0] == ":" else letter_tokenizer(merge)
        _, _, features = likelihood_features(tokenizer, rows)
        cut = [
            (tokenizer.decode(row["input_ids"][: row[FIRST]]), tokenizer.decode(row["input_ids"][row[FIRST] :]))
            for row in features
        ]
        gap = " " if prompt == "ab:" else ""
        assert cut[:4] == [(prompt, f"{gap}ba"), (prompt, f"{gap}ca")] * 2
        assert cut[4:] == [("a\n", "ba"), ("a\n", "ca")], "behind a new line there is no space"
    assert tokenizer.tokenize("ab: ba") == ["a", "b", ": b", "a"], "which hides the boundary"


def test_an_empty_prompt_still_has_a_token_for_the_first_one_to_follow() -> None:
    rows = table(question=[""], choices=[["yes", "no"]], label=[0])
    _, _, features = likelihood_features(word_tokenizer(), rows)
    assert features[0]["input_ids"] == [1, WORD["yes"]]
    _, _, features = likelihood_features(letter_tokenizer(), table(question=[""], choices=[["a", "b"]], label=[0]))
    assert features[FIRST][:] == [1, 1]


WORD = {word: number for number, word in enumerate(word_tokenizer().convert_ids_to_tokens(range(31)))}


def test_a_long_prompt_loses_its_beginning_and_a_candidate_only_what_cannot_fit(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tokenizer, long = word_tokenizer(), " ".join("abcdefghi" * 4)
    formulation = ChoiceByLikelihood(choice_task())
    rows = table(question=[long + " sky"], choices=[["yes", long]], label=[0])
    features = formulation.features(formulation.examples(rows, labelled=True), tokenizer, max_length=8, training=False)
    texts = tokenizer.batch_decode(features["input_ids"][:])
    assert texts == ["<s> e f g h i sky yes", "<s> a b c d e f g"]
    assert features[FIRST][:] == [7, 1]
    assert "1 candidates were longer than 7 tokens and cut" in caplog.text


def test_a_candidate_of_which_no_token_is_made_is_refused() -> None:
    tokenizer = letter_tokenizer()
    with pytest.raises(ValueError, match="makes no token of 'É'"):
        likelihood_features(tokenizer, table(question=[""], choices=[["É", "b"]], label=[0]))


@pytest.mark.parametrize(("length_norm", "expected"), [("none", 0), ("tokens", 1), ("characters", 2)])
def test_a_likelihood_is_divided_by_a_length(length_norm: str, expected: int) -> None:
    """Of 1, 2 and 4 tokens and 2, 3 and 16 characters: -3, -5, -16 is -3, -2.5, -4 a token and -1.5, -1.67, -1 each."""
    rows = table(question=["the sky"], choices=[["no", " a b ", "maybe not at all"]], label=[0])
    formulation, examples, features = likelihood_features(word_tokenizer(), rows, length_norm=length_norm)
    answers = formulation.answers(np.array([-3.0, -5.0, -16.0]), features, examples, {})
    assert answers.predictions == [expected]


def test_a_decoder_learns_to_choose() -> None:
    model, tokenizer = tiny_decoder(), word_tokenizer()
    formulation, examples, training = likelihood_features(tokenizer, small(), training=True)
    losses = train(formulation, model, training, tokenizer, steps=30, rate=3e-3)
    assert losses[-1] < 0.1 * losses[0]
    features = formulation.features(examples, tokenizer, max_length=24, training=False)
    answers = formulation.answers(outputs_of(formulation, model.eval(), features, tokenizer), features, examples, {})
    assert answers.predictions == LABELS


def test_the_settings_on_which_features_depend_are_named() -> None:
    plain, sampled = ChoiceByHead(choice_task()).fingerprint(), ChoiceByHead(choice_task(max_train=3)).fingerprint()
    assert plain != sampled
    assert plain != ChoiceByLikelihood(choice_task()).fingerprint()


# On pretrained models and real questions


@pytest.fixture(scope="module", params=["TinyStories-656K", "stories260K"])
def pretrained(request: pytest.FixtureRequest, shared: Callable[[str], Path]) -> tuple[Any, Any]:
    config = ModelConfig(name=request.param, path=str(shared(f"models/{request.param}")))
    foundation = load_foundation(config, choice_task())
    assert foundation.head == LANGUAGE_MODEL
    return foundation.model.eval(), foundation.tokenizer


def test_real_questions_score_as_one_by_one(pretrained: tuple[Any, Any], shared: Callable[[str], Path]) -> None:
    """The first 20 questions of OpenBookQA's dev set, candidate by candidate, the whole text tokenised by hand."""
    model, tokenizer = pretrained
    lines = (shared("data/qa/openbookqa/dev.jsonl")).read_text(encoding="utf-8").splitlines()[:20]
    questions = [json.loads(line)["question"] for line in lines]
    stems, choices = [q["stem"] for q in questions], [[c["text"] for c in q["choices"]] for q in questions]
    formulation = ChoiceByLikelihood(choice_task())
    examples = formulation.examples(table(question=stems, choices=choices, label=[0] * 20), labelled=True)
    features = formulation.features(examples, tokenizer, max_length=128, training=False)
    expected, scored = [], []
    for stem, own in zip(stems, choices, strict=True):
        prompt = tokenizer(stem)["input_ids"]
        if tokenizer(f"{stem} ")["input_ids"][: len(prompt)] != prompt:
            prompt = tokenizer(f"{stem} ")["input_ids"]
        for candidate in own:
            whole = tokenizer(f"{stem} {candidate}")["input_ids"]
            scored.append(whole[: len(prompt)] == prompt)
            expected.append(alone(model, whole, len(prompt)))
    outputs = outputs_of(formulation, model, features, tokenizer, size=16)
    assert outputs[scored] == pytest.approx(np.array(expected)[scored], abs=1e-4)
    assert sum(scored) >= 70, "few tokens are merged across the boundary"


def test_a_pretrained_model_knows_how_a_story_goes_on(pretrained: tuple[Any, Any]) -> None:
    """Of the endings of eight sentences the own one, nearly always."""
    model, tokenizer = pretrained
    formulation = ChoiceByLikelihood(choice_task(length_norm="none"))
    begins, ends = map(list, zip(*STORIES, strict=True))
    stories = table(question=begins, choices=[ends] * 8, label=range(8))
    examples = formulation.examples(stories, labelled=True)
    features = formulation.features(examples, tokenizer, max_length=128, training=False)
    answers = formulation.answers(outputs_of(formulation, model, features, tokenizer), features, examples, {})
    right = sum(found == wanted for found, wanted in zip(answers.predictions, answers.references or [], strict=True))
    assert right >= 6


STORIES = [
    ("Once upon a time, there was a little girl named", "Lily. She loved to play outside."),
    ("Tom had a red ball. One day, the ball", "rolled into the water."),
    ("The dog was very hungry. He wanted to", "eat some food."),
    ("It was a sunny day. The sun was", "shining in the sky."),
    ('Mom said, "It is time to go to', 'bed."'),
    ("The little bird could not", "fly."),
    ("Sue was sad and started to", "cry."),
    ("They hugged and were", "happy."),
]


def test_each_candidate_is_written_as_its_example_calls_it() -> None:
    rows = table(question=["?", "?"], choices=[["yes", "no"]] * 2, keys=[["A", "B"], ["1", "2"]])
    formulation = ChoiceByHead(choice_task(keys="keys"))
    assert "keys" in formulation.columns(labelled=False)
    examples = formulation.examples(rows, labelled=False)
    notes = Dataset.from_dict({EXAMPLE: [0, 0, 1, 1]})
    answers = formulation.answers(np.array([0.1, 0.2, 0.4, 0.3]), notes, examples, {})
    assert (answers.predictions, answers.written) == ([1, 0], ["B", "1"])
