"""How near a text is to those that are accepted: exact match and token F1.

The definitions of the scorers of SQuAD 1.1 (Rajpurkar et al. 2016, section 6.1) and 2.0 (Rajpurkar, Jia and Liang
2018), of which ReCoRD has the first. Where they differ, 2.0 is followed: an accepted text of which nothing is left
counts only if there is no other, and then a prediction of which nothing is left has an F1 of 1.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence

ARTICLES = re.compile(r"\b(?:a|an|the)\b")
WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """Return `text` in lower case, without ASCII punctuation and English articles, one space between words.

    Punctuation goes first, so that `a.m.` becomes the word `am`; what it kept apart is one word: `nonstop` for
    `non-stop`.
    """
    return " ".join(ARTICLES.sub(" ", text.lower().translate(WITHOUT_PUNCTUATION)).split())


def exact_match(prediction: str, accepted: Sequence[str]) -> float:
    """Return 1.0 if the normalised prediction is one of the normalised texts, else 0.0; none accepted: no answer."""
    return float(normalise(prediction) in _golds(accepted))


def token_f1(prediction: str, accepted: Sequence[str]) -> float:
    """Return the F1 of the prediction's words, counted as often as they occur, to the nearest accepted text, in [0, 1].

    None accepted: no answer, 1.0 for a prediction of which nothing is left.
    """
    predicted = normalise(prediction)
    return max(_word_f1(predicted, gold) for gold in _golds(accepted))


def _golds(accepted: Sequence[str]) -> list[str]:
    """Return the normalised texts that are not empty; one empty text if there are none."""
    return [text for text in map(normalise, accepted) if text] or [""]


def _word_f1(prediction: str, gold: str) -> float:
    predicted, expected = prediction.split(), gold.split()
    if not predicted or not expected:
        return float(predicted == expected)
    shared = (Counter(predicted) & Counter(expected)).total()
    return 2 * shared / (len(predicted) + len(expected))
