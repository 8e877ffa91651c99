"""Exact match and token F1 of texts: by hand, and against the definition written out a second time."""

import re
import string
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from light_peft.tasks.texts import exact_match, normalise, token_f1

WORDS = ["a", "an", "the", "The", "cat", "Cat", "sat.", "on", "mat", "'", "-", "--", "", "U.S.", "\u00e9", "theory"]
texts = st.lists(st.sampled_from(WORDS) | st.text(max_size=4), max_size=6).map(" ".join)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Cat,\tsat\non a MAT!", "cat sat on mat"),
        ("an apple", "apple"),
        ("theory of the anthem", "theory of anthem"),
        ("a.m.", "am"),
        ("non-stop", "nonstop"),
        ("the-end", "theend"),
        ("(The) end", "end"),
        ("the", ""),
        ("A. An. The!", ""),
        ("?!", ""),
        ("$5,000.50", "500050"),
        ("\u00c9cole", "\u00e9cole"),
        ("\u201cthe\u201d end\u2014a dash", "\u201c \u201d end\u2014 dash"),
        ("\uff34\uff28\uff25 end\u3002", "\uff54\uff48\uff45 end\u3002"),
        ("a\u00a0b", "b"),
        ("\U0001f600 the \U0001f600", "\U0001f600 \U0001f600"),
        ("\u0130", "i\u0307"),
    ],
    ids=ascii,
)
def test_normalise(text: str, expected: str) -> None:
    assert normalise(text) == expected


@pytest.mark.parametrize(
    ("prediction", "accepted", "exact", "f1"),
    [
        ("the cat", ["Cat."], 1, 1),
        ("cat sat", ["cat"], 0, 2 / 3),
        ("cat cat", ["cat"], 0, 2 / 3),
        ("cat cat", ["cat cat dog"], 0, 4 / 5),
        ("sat cat", ["cat sat"], 0, 1),
        ("dog", ["cat", "the dog", "dogs"], 1, 1),
        ("big dog", ["cat", "a dog", "dog"], 0, 2 / 3),
        ("dogs", ["dog"], 0, 0),
        ("", [], 1, 1),
        ("", [""], 1, 1),
        ("the", [], 1, 1),
        ("cat", [], 0, 0),
        ("", ["cat"], 0, 0),
        ("the", ["cat"], 0, 0),
        ("the", ["the", "cat"], 0, 0),
        ("the", ["a"], 1, 1),
        ("cat", ["the"], 0, 0),
        ("caf\u00e9", ["cafe"], 0, 0),
        ("\U0001f600", ["\U0001f600!"], 1, 1),
    ],
    ids=ascii,
)
def test_scores_by_hand(prediction: str, accepted: list[str], exact: float, f1: float) -> None:
    assert exact_match(prediction, accepted) == exact
    assert token_f1(prediction, accepted) == pytest.approx(f1, abs=1e-12)


@given(texts, st.lists(texts, max_size=3))
def test_both_are_the_published_definitions(prediction: str, accepted: list[str]) -> None:
    golds = [text for text in accepted if reference_normal(text)] or [""]
    assert exact_match(prediction, accepted) == max(reference_exact(prediction, gold) for gold in golds)
    assert token_f1(prediction, accepted) == pytest.approx(max(reference_f1(prediction, gold) for gold in golds))


@given(texts, st.lists(texts, max_size=3))
def test_an_exact_match_has_an_f1_of_one(prediction: str, accepted: list[str]) -> None:
    assert exact_match(prediction, accepted) <= token_f1(prediction, accepted) <= 1


def reference_normal(text: str) -> str:
    lower = "".join(character for character in text.lower() if character not in set(string.punctuation))
    return re.sub(r"\s+", " ", re.sub(r"\b(a|an|the)\b", " ", lower)).strip()


def reference_exact(prediction: str, gold: str) -> float:
    return 1.0 if reference_normal(prediction) == reference_normal(gold) else 0.0


def reference_f1(prediction: str, gold: str) -> float:
    """Precision and recall of the bag of words, and their harmonic mean."""
    predicted, expected = reference_normal(prediction).split(), reference_normal(gold).split()
    if not (predicted and expected):
        return 1.0 if not predicted and not expected else 0.0
    rest, shared = Counter(expected), 0
    for word in predicted:
        if rest[word]:
            rest[word] -= 1
            shared += 1
    if not shared:
        return 0.0
    precision, recall = shared / len(predicted), shared / len(expected)
    return 2 * precision * recall / (precision + recall)
