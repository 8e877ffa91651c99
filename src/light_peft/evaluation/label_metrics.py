"""Metrics of class numbers and of figures."""

import numpy as np

from light_peft.evaluation.local_metric import FIGURES, GROUPS, PREDICTIONS, REFERENCES, LocalMetric


class Accuracy(LocalMetric):
    """Share of predictions that equal their reference, in [0, 1]."""

    name_of_score = "accuracy"

    def score(self, predictions: np.ndarray, references: np.ndarray) -> float:
        """Return the share."""
        from sklearn.metrics import accuracy_score

        return float(accuracy_score(references, predictions))


class F1(LocalMetric):
    """Harmonic mean of precision and recall of class 1, in [0, 1]; 0 where nothing of class 1 is found or there."""

    name_of_score = "f1"

    def score(self, predictions: np.ndarray, references: np.ndarray) -> float:
        """Return the mean."""
        from sklearn.metrics import f1_score

        return float(f1_score(references == 1, predictions == 1, zero_division=0.0))


class MacroF1(LocalMetric):
    """Mean F1 over the classes that are predicted or right, in [0, 1]; CB's F1 (Wang et al. 2019, SuperGLUE).

    A class that is neither predicted nor right has no F1 and is left out.
    """

    name_of_score = "macro_f1"

    def score(self, predictions: np.ndarray, references: np.ndarray) -> float:
        """Return the mean."""
        labels = np.union1d(predictions, references)
        said, there = predictions[:, None] == labels, references[:, None] == labels
        return float((2 * (said & there).sum(axis=0) / (said.sum(axis=0) + there.sum(axis=0))).mean())


class AnswerF1(F1):
    """F1 of class 1 over all answer options of all questions, MultiRC's F1a (Khashabi et al. 2018)."""

    name_of_score = "f1a"


class QuestionMatch(LocalMetric):
    """Share of questions (groups) whose answer options are all judged right, in [0, 1]; MultiRC's exact match."""

    name_of_score = "question_match"
    inputs = (PREDICTIONS, REFERENCES, GROUPS)

    def score(self, predictions: np.ndarray, references: np.ndarray, groups: np.ndarray) -> float:
        """Return the share."""
        _, numbers = np.unique(groups, return_inverse=True)
        wrong = np.bincount(numbers, weights=predictions != references)
        return float((wrong == 0).mean())


class GenderParity(LocalMetric):
    """Share of pairs with one prediction for both, in [0, 1]; AX-g's gender parity (Wang et al. 2019, SuperGLUE).

    An example without a partner makes no pair.
    """

    name_of_score = "gender_parity"
    inputs = (PREDICTIONS, GROUPS)
    pairs_rows = True

    def score(self, predictions: np.ndarray, groups: np.ndarray) -> float | None:
        """Return the share; None if there is no pair."""
        _, numbers, sizes = np.unique(groups, return_inverse=True, return_counts=True)
        _, first = np.unique(numbers, return_index=True)
        unlike = np.bincount(numbers, weights=predictions != predictions[first][numbers])
        return float((unlike[sizes > 1] == 0).mean()) if (sizes > 1).any() else None


class MatthewsCorrelation(LocalMetric):
    """Matthews correlation of the classes, in [-1, 1]; 0 where either side is constant."""

    name_of_score = "matthews_correlation"

    def score(self, predictions: np.ndarray, references: np.ndarray) -> float:
        """Return the correlation."""
        from sklearn.metrics import matthews_corrcoef

        if _constant(predictions) or _constant(references):
            return 0.0
        return float(matthews_corrcoef(references, predictions))


class Pearson(LocalMetric):
    """Linear correlation of the figures, in [-1, 1]; 0 where either side is constant."""

    name_of_score = "pearson"
    compares = FIGURES

    def score(self, predictions: np.ndarray, references: np.ndarray) -> float:
        """Return the correlation."""
        from scipy.stats import pearsonr

        if _constant(predictions) or _constant(references):
            return 0.0
        return float(pearsonr(predictions, references).statistic)


class Spearman(LocalMetric):
    """Linear correlation of the figures' ranks, ties sharing theirs, in [-1, 1]; 0 where either side is constant."""

    name_of_score = "spearman"
    compares = FIGURES

    def score(self, predictions: np.ndarray, references: np.ndarray) -> float:
        """Return the correlation."""
        from scipy.stats import spearmanr

        if _constant(predictions) or _constant(references):
            return 0.0
        return float(spearmanr(predictions, references).statistic)


def _constant(values: np.ndarray) -> bool:
    """Return whether all values are the same, as far as their precision can tell."""
    return bool(np.ptp(values) <= 1e-13 * np.abs(values).max())
