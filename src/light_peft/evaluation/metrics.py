"""The metrics of GLUE, as `evaluate.Metric`s that touch neither the network nor the disk."""

import difflib
from collections.abc import Sequence
from typing import Any, ClassVar

import datasets
import evaluate
import numpy as np
import scipy.stats
import sklearn.metrics
from numpy.typing import ArrayLike


class LocalMetric(evaluate.Metric):
    """A metric of one figure, kept in memory; any number of processes may compute it at once."""

    name_of_score: ClassVar[str]
    """Key of the figure in the result."""
    dtype: ClassVar[str] = "int64"
    """Type of predictions and references: int64 (class numbers) or float64 (figures)."""

    def __init__(self) -> None:
        """Keep everything in memory, with no part in any group of processes."""
        super().__init__(keep_in_memory=True, num_process=1, process_id=0)

    def _build_data_dir(self) -> str:
        """Make no folder: nothing is written."""
        return ""

    def _info(self) -> evaluate.MetricInfo:
        value = datasets.Value(self.dtype)
        return evaluate.MetricInfo(
            description=str(type(self).__doc__),
            citation="",
            features=datasets.Features({"predictions": value, "references": value}),
        )

    def _compute(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Return {`name_of_score`: figure}."""
        return {self.name_of_score: float(self.score(np.asarray(predictions), np.asarray(references)))}

    def score(self, predictions: np.ndarray, references: np.ndarray) -> float:
        """Return the figure; both arrays have shape (N,), N >= 1."""
        raise NotImplementedError


class Accuracy(LocalMetric):
    """Share of predictions that equal their reference, in [0, 1]."""

    name_of_score = "accuracy"

    def score(self, predictions: np.ndarray, references: np.ndarray) -> float:
        """Return the share."""
        return float(sklearn.metrics.accuracy_score(references, predictions))


class F1(LocalMetric):
    """Harmonic mean of precision and recall of class 1, in [0, 1]; 0 where nothing of class 1 is found or there."""

    name_of_score = "f1"

    def score(self, predictions: np.ndarray, references: np.ndarray) -> float:
        """Return the mean."""
        return float(sklearn.metrics.f1_score(references == 1, predictions == 1, zero_division=0.0))


class MatthewsCorrelation(LocalMetric):
    """Matthews correlation of the classes, in [-1, 1]; 0 where either side is constant."""

    name_of_score = "matthews_correlation"

    def score(self, predictions: np.ndarray, references: np.ndarray) -> float:
        """Return the correlation."""
        if _constant(predictions) or _constant(references):
            return 0.0
        return float(sklearn.metrics.matthews_corrcoef(references, predictions))


class Pearson(LocalMetric):
    """Linear correlation of the figures, in [-1, 1]; 0 where either side is constant."""

    name_of_score = "pearson"
    dtype = "float64"

    def score(self, predictions: np.ndarray, references: np.ndarray) -> float:
        """Return the correlation."""
        if _constant(predictions) or _constant(references):
            return 0.0
        return float(scipy.stats.pearsonr(predictions, references).statistic)


class Spearman(LocalMetric):
    """Linear correlation of the figures' ranks, ties sharing theirs, in [-1, 1]; 0 where either side is constant."""

    name_of_score = "spearman"
    dtype = "float64"

    def score(self, predictions: np.ndarray, references: np.ndarray) -> float:
        """Return the correlation."""
        if _constant(predictions) or _constant(references):
            return 0.0
        return float(scipy.stats.spearmanr(predictions, references).statistic)


METRICS: dict[str, type[LocalMetric]] = {
    metric.name_of_score: metric for metric in (Accuracy, F1, MatthewsCorrelation, Pearson, Spearman)
}
"""Name -> metric."""


def check_names(names: Sequence[str]) -> None:
    """Hold the names of metrics against those there are.

    Raises:
        ValueError: a name is unknown.
    """
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        near = difflib.get_close_matches(unknown[0], METRICS, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"task.metrics has {unknown[0]!r}, must be among: {', '.join(METRICS)}{hint}")


def compute_metrics(names: Sequence[str], predictions: ArrayLike, references: ArrayLike) -> dict[str, float]:
    """Return the figure of each metric, in the order of `names`.

    `predictions` and `references` are class numbers, or figures of a regression, shape (N,).

    Raises:
        ValueError: a name is unknown, N is 0, the two differ in shape, or a value is not a finite number.
    """
    check_names(names)
    predicted, expected = np.asarray(predictions), np.asarray(references)
    if predicted.ndim != 1 or predicted.shape != expected.shape or not len(predicted):
        shapes = f"predictions have shape {predicted.shape}, references {expected.shape}"
        raise ValueError(f"{shapes}; both must be (N,) with N at least 1")
    for what, values in (("predictions", predicted), ("references", expected)):
        if not np.isfinite(values).all():
            raise ValueError(f"{(~np.isfinite(values)).sum()} of {len(values)} {what} are not finite numbers")
    scores: dict[str, float] = {}
    for name in names:
        scores |= METRICS[name]().compute(predictions=predicted, references=expected)
    return scores


def _constant(values: np.ndarray) -> bool:
    """Return whether all values are the same, as far as their precision can tell."""
    return bool(np.ptp(values) <= 1e-13 * np.abs(values).max())
