import math
import warnings
from pathlib import Path

import evaluate
import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from light_peft.evaluation.metrics import METRICS, compute_metrics

CLASSES = ["accuracy", "f1", "matthews_correlation"]
FIGURES = ["pearson", "spearman"]


def test_a_case_computed_by_hand() -> None:
    # true positives 3, false positives 1, false negatives 2, true negatives 2
    predictions, references = [1, 1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 1, 1, 0, 0]
    assert compute_metrics(CLASSES, predictions, references) == pytest.approx(
        {
            "accuracy": 5 / 8,
            "f1": 2 * 3 / (2 * 3 + 1 + 2),
            "matthews_correlation": (3 * 2 - 1 * 2) / math.sqrt(4 * 5 * 3 * 4),
        }
    )


def test_figures_computed_by_hand() -> None:
    # deviations from the mean: (-1, 0, 1) and (-2, -1, 3); ranks rise together
    scores = compute_metrics(FIGURES, [1.0, 2.0, 3.0], [1.0, 2.0, 6.0])
    assert scores == pytest.approx({"pearson": 5 / math.sqrt(2 * 14), "spearman": 1.0})


@pytest.mark.parametrize("seed", range(5))
def test_equal_to_the_libraries(seed: int) -> None:
    rng = np.random.default_rng(seed)
    predicted, expected = rng.integers(0, 2, 50), rng.integers(0, 2, 50)
    assert compute_metrics(CLASSES, predicted, expected) == pytest.approx(
        {
            "accuracy": sklearn.metrics.accuracy_score(expected, predicted),
            "f1": sklearn.metrics.f1_score(expected, predicted),
            "matthews_correlation": sklearn.metrics.matthews_corrcoef(expected, predicted),
        }
    )
    figures, targets = rng.normal(size=50).astype(np.float32), rng.integers(0, 6, 50).astype(float)
    assert compute_metrics(FIGURES, figures, targets) == pytest.approx(
        {
            "pearson": scipy.stats.pearsonr(figures.astype(float), targets).statistic,
            "spearman": scipy.stats.spearmanr(figures, targets).statistic,
        }
    )


def test_three_classes() -> None:
    predicted, expected = [0, 1, 2, 2, 1, 0], [0, 1, 2, 1, 1, 2]
    scores = compute_metrics(["accuracy", "matthews_correlation"], predicted, expected)
    assert scores["accuracy"] == pytest.approx(4 / 6)
    assert scores["matthews_correlation"] == pytest.approx(sklearn.metrics.matthews_corrcoef(expected, predicted))


@pytest.mark.parametrize("name", METRICS)
def test_perfect_predictions_score_one(name: str) -> None:
    assert compute_metrics([name], [0, 1, 1, 0], [0, 1, 1, 0])[name] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("names", "predictions", "references"),
    [
        (["matthews_correlation", "f1"], [0, 0, 0], [0, 1, 1]),
        (["matthews_correlation"], [0, 1, 1], [1, 1, 1]),
        (["f1"], [0, 0], [0, 0]),
        (FIGURES, [2.5, 2.5, 2.5], [1.0, 2.0, 3.0]),
        (FIGURES, [1.0, 2.0, 3.0], [5.0, 5.0, 5.0]),
        (FIGURES, [0.1 + 0.2, 0.3], [1.0, 2.0]),
        (FIGURES, [0.0, 0.0], [1.0, 2.0]),
        (FIGURES, [1.0], [2.0]),
    ],
)
def test_degenerate_input_scores_zero_without_a_warning(
    names: list[str], predictions: list[float], references: list[float]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compute_metrics(names, predictions, references) == dict.fromkeys(names, 0.0)


def test_only_the_names_asked_for_in_their_order() -> None:
    assert list(compute_metrics(["f1", "accuracy"], [1], [1])) == ["f1", "accuracy"]


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"task\.metrics has 'acuracy', must be among: .*did you mean accuracy\?"):
        compute_metrics(["f1", "acuracy"], [1], [1])
    with pytest.raises(ValueError, match=r"predictions have shape \(2,\), references \(1,\)"):
        compute_metrics(["f1"], [1, 0], [1])
    with pytest.raises(ValueError, match=r"references \(0,\); both must be \(N,\) with N at least 1"):
        compute_metrics(["f1"], [], [])
    with pytest.raises(ValueError, match="1 of 2 predictions are not finite numbers"):
        compute_metrics(["pearson"], [math.nan, 1.0], [1.0, 2.0])


def test_metrics_are_evaluate_metrics_that_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    for name, metric in METRICS.items():
        instance = metric()
        assert isinstance(instance, evaluate.Metric)
        assert instance.compute(predictions=[0, 1], references=[0, 1]) == {name: pytest.approx(1.0)}
    assert list(tmp_path.iterdir()) == []
