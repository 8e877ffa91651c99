import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import evaluate
import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from light_peft.config import ChoiceConfig, TaskConfig
from light_peft.evaluation.evaluate_metric import EvaluateMetric
from light_peft.evaluation.local_metric import CLASSES, FIGURES, GROUPS, REFERENCES, TEXTS
from light_peft.evaluation.metrics import METRICS, check_metrics, compute_metrics
from light_peft.tasks.formulation import Answers

GLUE = ["accuracy", "f1", "matthews_correlation"]
CORRELATIONS = ["pearson", "spearman"]
SQUAD2 = ["exact_match", "token_f1", "has_answer_exact_match", "has_answer_token_f1", "no_answer_accuracy"]


def score(names: list[str], predictions: Any, references: Any = None, groups: Any = None) -> dict[str, float]:
    return compute_metrics(
        names, Answers(list(predictions), references if references is None else list(references), groups)
    )


def names_of(kind: str) -> list[str]:
    return [name for name, metric in METRICS.items() if metric.compares == kind]


def test_a_case_computed_by_hand() -> None:
    # true positives 3, false positives 1, false negatives 2, true negatives 2
    predictions, references = [1, 1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 1, 1, 0, 0]
    assert score([*GLUE, "f1a", "macro_f1"], predictions, references) == pytest.approx(
        {
            "accuracy": 5 / 8,
            "f1": 2 * 3 / (2 * 3 + 1 + 2),
            "f1a": 2 * 3 / (2 * 3 + 1 + 2),
            "macro_f1": (2 * 3 / (2 * 3 + 1 + 2) + 2 * 2 / (2 * 2 + 2 + 1)) / 2,
            "matthews_correlation": (3 * 2 - 1 * 2) / math.sqrt(4 * 5 * 3 * 4),
        }
    )


def test_figures_computed_by_hand() -> None:
    # deviations from the mean: (-1, 0, 1) and (-2, -1, 3); ranks rise together
    scores = score(CORRELATIONS, [1.0, 2.0, 3.0], [1.0, 2.0, 6.0])
    assert scores == pytest.approx({"pearson": 5 / math.sqrt(2 * 14), "spearman": 1.0})


@pytest.mark.parametrize("seed", range(5))
def test_equal_to_the_libraries(seed: int) -> None:
    rng = np.random.default_rng(seed)
    predicted, expected = rng.integers(0, 2, 50), rng.integers(0, 2, 50)
    assert score(GLUE, predicted, expected) == pytest.approx(
        {
            "accuracy": sklearn.metrics.accuracy_score(expected, predicted),
            "f1": sklearn.metrics.f1_score(expected, predicted),
            "matthews_correlation": sklearn.metrics.matthews_corrcoef(expected, predicted),
        }
    )
    figures, targets = rng.normal(size=50).astype(np.float32), rng.integers(0, 6, 50).astype(float)
    assert score(CORRELATIONS, figures, targets) == pytest.approx(
        {
            "pearson": scipy.stats.pearsonr(figures.astype(float), targets).statistic,
            "spearman": scipy.stats.spearmanr(figures, targets).statistic,
        }
    )


def test_three_classes() -> None:
    predicted, expected = [0, 1, 2, 2, 1, 0], [0, 1, 2, 1, 1, 2]
    scores = score(["accuracy", "matthews_correlation", "macro_f1"], predicted, expected)
    assert scores["accuracy"] == pytest.approx(4 / 6)
    assert scores["matthews_correlation"] == pytest.approx(sklearn.metrics.matthews_corrcoef(expected, predicted))
    # class 0: 1 right of 2 said and 1 there; class 1: 2 right of 2 said and 3 there; class 2: 1 right of 2 and 2
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 4 / 5 + 2 / 4) / 3)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=20))
def test_f1_of_classes_as_scikit_learn_has_it(pairs: list[tuple[int, int]]) -> None:
    predicted, expected = zip(*pairs, strict=True)
    macro = sklearn.metrics.f1_score(expected, predicted, average="macro")
    assert score(["macro_f1"], predicted, expected)["macro_f1"] == pytest.approx(macro)
    ones = sklearn.metrics.f1_score([e == 1 for e in expected], [p == 1 for p in predicted], zero_division=0.0)
    assert score(["f1a"], predicted, expected)["f1a"] == pytest.approx(ones)


def test_multirc_by_hand() -> None:
    # question a: all right; b: one of three wrong; c: its only option wrong; the options of a and b are not in a row
    groups = ["0-a", "0-b", "0-a", "0-b", "0-b", "0-c"]
    predictions, references = [1, 1, 0, 0, 1, 1], [1, 1, 0, 0, 0, 0]
    assert score(["f1a", "question_match"], predictions, references, groups) == pytest.approx(
        {"f1a": 2 * 2 / (2 * 2 + 2), "question_match": 1 / 3}
    )


def test_gender_parity_of_groups_and_of_rows_without_labels() -> None:
    assert score(["gender_parity"], [1, 1, 0, 1, 0, 0], groups=["x", "x", "y", "y", "z", "z"])["gender_parity"] == 2 / 3
    assert score(["gender_parity"], [1, 1, 0, 1], groups=["x", "y", "y", "x"])["gender_parity"] == 0.5
    assert score(["gender_parity"], [1, 1, 0, 1, 0, 0])["gender_parity"] == 2 / 3
    assert score(["gender_parity"], [1, 0, 0])["gender_parity"] == 0.0, "the last has no partner"
    assert score(["gender_parity", "accuracy"], [1], [1]) == {"accuracy": 1.0}, "no pair, no figure"


def test_record_by_hand() -> None:
    predictions = ["The Taliban", "Benazir Bhutto", "Pakistan"]
    references = [["Taliban", "Taliban militants"], ["Bilawal Bhutto Zardari", "Bhutto"], ["Islamabad"]]
    # the second shares one of its two words with `Bhutto`: 2 * 1 / (2 + 1); with the other 2 * 1 / (2 + 3)
    assert score(["token_f1", "exact_match"], predictions, references) == pytest.approx(
        {"token_f1": (1 + 2 / 3 + 0) / 3, "exact_match": 1 / 3}
    )


def test_squad_2_by_hand() -> None:
    predictions = ["in 1066", "", "", "France"]
    references = [["1066"], ["Normans"], [], []]
    assert score(SQUAD2, predictions, references) == pytest.approx(
        {
            "exact_match": 1 / 4,
            "token_f1": (2 / 3 + 0 + 1 + 0) / 4,
            "has_answer_exact_match": 0.0,
            "has_answer_token_f1": (2 / 3 + 0) / 2,
            "no_answer_accuracy": 1 / 2,
        }
    )


def test_a_subset_of_no_example_has_no_figure_and_the_rest_is_json() -> None:
    with_answer = score(SQUAD2, ["Rome"], [["Rome"]])
    assert list(with_answer) == [name for name in SQUAD2 if name != "no_answer_accuracy"]
    without = score(SQUAD2, [""], [[]])
    assert without == {"exact_match": 1.0, "token_f1": 1.0, "no_answer_accuracy": 1.0}
    assert json.loads(json.dumps(without, allow_nan=False)) == without
    assert score(SQUAD2, [""], [[""]]) == without, "an empty text accepted is no answer as well"


def perfect(name: str) -> dict[str, float]:
    if METRICS[name].compares == TEXTS:
        references = [[]] if name == "no_answer_accuracy" else [["one", "two"], ["three"]]
        return score([name], [texts[-1] if texts else "" for texts in references], references)
    return score([name], [0, 1, 1, 0], [0, 1, 1, 0], ["a", "b", "b", "a"] if GROUPS in METRICS[name].inputs else None)


@pytest.mark.parametrize("name", METRICS)
def test_perfect_predictions_score_one(name: str) -> None:
    assert perfect(name)[name] == pytest.approx(1.0)


CASES: dict[str, Callable[[Any], Any]] = {
    CLASSES: lambda draw: (draw(st.integers(0, 2)), draw(st.integers(0, 2))),
    FIGURES: lambda draw: (draw(st.floats(-5, 5)), draw(st.floats(-5, 5))),
    TEXTS: lambda draw: (
        draw(st.sampled_from(["", "a", "x y", "y", "X. z"])),
        draw(st.lists(st.sampled_from(["x", "y x", "the", "z"]), max_size=2)),
    ),
}


@pytest.mark.parametrize("kind", CASES)
@settings(max_examples=25)
@given(data=st.data())
def test_every_metric_is_in_its_range_whatever_the_order(kind: str, data: st.DataObject) -> None:
    names = names_of(kind)
    rows = [(*CASES[kind](data.draw), str(number % 3)) for number in range(data.draw(st.integers(1, 9)))]
    first, second = (
        score(names, *map(list, zip(*order, strict=True))) for order in (rows, data.draw(st.permutations(rows)))
    )
    assert first == pytest.approx(second)
    for name, figure in first.items():
        assert (-1 if name in {"matthews_correlation", *CORRELATIONS} else 0) <= figure <= 1, name


@pytest.mark.parametrize(
    ("names", "predictions", "references"),
    [
        (["matthews_correlation", "f1"], [0, 0, 0], [0, 1, 1]),
        (["matthews_correlation"], [0, 1, 1], [1, 1, 1]),
        (["f1", "f1a"], [0, 0], [0, 0]),
        (["macro_f1"], [0, 0], [1, 2]),
        (CORRELATIONS, [2.5, 2.5, 2.5], [1.0, 2.0, 3.0]),
        (CORRELATIONS, [1.0, 2.0, 3.0], [5.0, 5.0, 5.0]),
        (CORRELATIONS, [0.1 + 0.2, 0.3], [1.0, 2.0]),
        (CORRELATIONS, [0.0, 0.0], [1.0, 2.0]),
        (CORRELATIONS, [1.0], [2.0]),
    ],
)
def test_degenerate_input_scores_zero_without_a_warning(
    names: list[str], predictions: list[float], references: list[float]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert score(names, predictions, references) == dict.fromkeys(names, 0.0)


def test_only_the_names_asked_for_in_their_order() -> None:
    assert list(score(["f1", "accuracy"], [1], [1])) == ["f1", "accuracy"]


@pytest.mark.parametrize(
    ("names", "answers", "message"),
    [
        (["f1", "acuracy"], ([1], [1]), r"task\.metrics has 'acuracy', must be among: .*did you mean accuracy\?"),
        (["f1"], ([1, 0], [1]), r"2 predictions, 1 references: must be as many of each, and at least 1"),
        (["f1"], ([], []), r"0 predictions, 0 references: must be as many"),
        (["f1"], ([1, 0], [1, 0], ["a"]), "2 predictions, 2 references, 1 groups: must be"),
        (["pearson"], ([math.nan, 1.0], [1.0, 2.0]), "1 of 2 predictions are not finite numbers"),
        (["pearson"], ([0.5, 1.0], [math.inf, 2.0]), "1 of 2 references are not finite numbers"),
        (["accuracy"], (["x"], [["x"]]), r"task\.metrics has 'accuracy', which compares class numbers, and the predic.*"
         r"are texts; for these there are: exact_match, token_f1"),
        (["accuracy"], ([0.5], [1.0]), "'accuracy', which compares class numbers, and the predictions are figures; "
         "for these there are: pearson, spearman"),
        (["token_f1"], ([1], [1]), "'token_f1', which compares texts, and the predictions are class numbers"),
        (["exact_match"], (["1"], [1]), "'exact_match', which compares texts, and the references are class numbers"),
        (["exact_match"], (["1"], ["1"]), "references must be .* all lists of texts; one of them is '1'"),
        (["exact_match"], (["x", 1], [["x"], ["y"]]), "predictions must be all .* texts; one of them is 1"),
        (["accuracy", "gender_parity"], ([1, 1],), "'accuracy', which needs labels, and they are hidden"),
        (["question_match"], ([1], [1]), r"'question_match', which scores groups of examples; .*: task\.group"),
    ],
)  # fmt: skip
def test_errors(names: list[str], answers: tuple[list[Any], ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score(names, *answers)


def test_metrics_are_evaluate_metrics_that_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    for name in METRICS:
        assert isinstance(EvaluateMetric(METRICS[name]()), evaluate.Metric)
        assert perfect(name) == {name: pytest.approx(1.0)}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if REFERENCES in metric.inputs])
def test_hidden_labels_have_no_figure(name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}', which needs labels, and they are hidden"):
        score([name], ["x"] if METRICS[name].compares == TEXTS else [1], groups=["a"])


@pytest.mark.parametrize(
    ("formulation", "names", "metric", "problem"),
    [
        ("classification", None, "exact_match", "which compares texts, and the predictions are class numbers"),
        ("regression", None, "accuracy", "which compares class numbers, and the predictions are figures"),
        ("choice", "names", "accuracy", "which compares class numbers, and the predictions are texts"),
        ("span", None, "f1", "which compares class numbers, and the predictions are texts"),
        ("generation", None, "pearson", "which compares figures, and the predictions are texts"),
        ("classification", None, "question_match", "which scores groups of examples; name their column"),
    ],
)
def test_a_metric_that_does_not_fit_is_refused_before_there_are_answers(
    formulation: str, names: str | None, metric: str, problem: str
) -> None:
    task = TaskConfig(formulation=formulation, choice=ChoiceConfig(names=names), metrics=[metric])
    with pytest.raises(ValueError, match=f"^task.metrics has '{metric}', {problem}"):
        check_metrics(task)
    check_metrics(TaskConfig(formulation="choice", metrics=["accuracy", "gender_parity"]))
    check_metrics(TaskConfig(formulation="classification", group="group", metrics=["f1a", "question_match"]))
