"""Metrics of texts: SQuAD's and ReCoRD's, as shares and means over examples."""

from collections.abc import Sequence
from typing import ClassVar

from light_peft.evaluation.local_metric import TEXTS, LocalMetric
from light_peft.tasks.texts import exact_match, token_f1


class TextMetric(LocalMetric):
    """Mean over examples of a figure in [0, 1] for one text and those that are accepted."""

    compares = TEXTS
    answered: ClassVar[bool | None] = None
    """Which examples count: True those that have an answer, False those that have none, None all."""

    def score(self, predictions: list[str], references: list[list[str]]) -> float | None:
        """Return the mean; None if no example counts."""
        figures = [
            self.compare(text, accepted)
            for text, accepted in zip(predictions, references, strict=True)
            if self.answered is None or self.answered == any(accepted)
        ]
        return sum(figures) / len(figures) if figures else None

    def compare(self, text: str, accepted: Sequence[str]) -> float:
        """Return the figure of one text; if none is accepted, 1 for an empty text and else 0."""
        raise NotImplementedError


class ExactMatch(TextMetric):
    """Share of texts that equal an accepted one, but for case, punctuation and articles (Rajpurkar et al. 2016)."""

    name_of_score = "exact_match"

    def compare(self, text: str, accepted: Sequence[str]) -> float:
        """Return the figure."""
        return exact_match(text, accepted)


class TokenF1(TextMetric):
    """Mean F1 of the words of a text and of the accepted one that it is nearest to (Rajpurkar et al. 2016)."""

    name_of_score = "token_f1"

    def compare(self, text: str, accepted: Sequence[str]) -> float:
        """Return the figure."""
        return token_f1(text, accepted)


class HasAnswerExactMatch(ExactMatch):
    """Exact match over the questions that have an answer (Rajpurkar et al. 2018, SQuAD 2.0)."""

    name_of_score = "has_answer_exact_match"
    answered = True


class HasAnswerTokenF1(TokenF1):
    """Token F1 over the questions that have an answer (Rajpurkar et al. 2018, SQuAD 2.0)."""

    name_of_score = "has_answer_token_f1"
    answered = True


class NoAnswerAccuracy(ExactMatch):
    """Share of the questions without an answer that are given none (Rajpurkar et al. 2018, SQuAD 2.0)."""

    name_of_score = "no_answer_accuracy"
    answered = False
