"""The metrics by name, and their figures for a model's answers."""

import difflib
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from light_peft.config import TaskConfig
from light_peft.evaluation.label_metrics import (
    F1,
    Accuracy,
    AnswerF1,
    GenderParity,
    MacroF1,
    MatthewsCorrelation,
    Pearson,
    QuestionMatch,
    Spearman,
)
from light_peft.evaluation.local_metric import CLASSES, FIGURES, GROUPS, PREDICTIONS, REFERENCES, TEXTS, LocalMetric
from light_peft.evaluation.text_metrics import (
    ExactMatch,
    HasAnswerExactMatch,
    HasAnswerTokenF1,
    NoAnswerAccuracy,
    TokenF1,
)
from light_peft.tasks.formulation import Answers

METRICS: dict[str, type[LocalMetric]] = {
    metric.name_of_score: metric
    for metric in (
        *(Accuracy, F1, MacroF1, AnswerF1, QuestionMatch, GenderParity, MatthewsCorrelation, Pearson, Spearman),
        *(ExactMatch, TokenF1, HasAnswerExactMatch, HasAnswerTokenF1, NoAnswerAccuracy),
    )
}
"""Name -> metric."""

FITTING = {CLASSES: (CLASSES, FIGURES), FIGURES: (FIGURES,), TEXTS: (TEXTS,)}
"""What answers are -> what of `LocalMetric.compares` can be done with them."""


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


def kind_of_answers(task: TaskConfig) -> str:
    """Return what the answers to `task` will be: CLASSES, FIGURES or TEXTS."""
    if task.formulation == "regression":
        return FIGURES
    numbered = task.formulation == "classification" or (task.formulation == "choice" and task.choice.names is None)
    return CLASSES if numbered else TEXTS


def check_metrics(task: TaskConfig) -> None:
    """Hold the metrics of a task against what its answers will be, so that no run fails for them at its end.

    Raises:
        ValueError: a name is unknown, or a metric does not fit the answers or lacks a column of groups.
    """
    check_names(task.metrics)
    for name in task.metrics:
        _check_fit(name, dict.fromkeys((PREDICTIONS, REFERENCES), kind_of_answers(task)))
        if task.group is None:
            _check_groups(METRICS[name])


def compute_metrics(names: Sequence[str], answers: Answers) -> dict[str, float]:
    """Return the figure of each metric, in the order of `names`.

    A metric of examples of which there are none (no question without an answer, no pair) has no figure: it is absent.

    Raises:
        ValueError: a name is unknown, there is no answer, predictions and references differ in number or kind, a
            value is not a finite number, or a metric does not fit the answers or lacks references or groups.
    """
    from light_peft.evaluation.evaluate_metric import EvaluateMetric  # slow to import, and not needed up to here

    check_names(names)
    given: dict[str, Any] = {PREDICTIONS: answers.predictions, REFERENCES: answers.references, GROUPS: answers.groups}
    given = {what: list(values) for what, values in given.items() if values is not None}
    counts = {what: len(values) for what, values in given.items()}
    if len(set(counts.values())) > 1 or not counts[PREDICTIONS]:
        found = ", ".join(f"{count} {what}" for what, count in counts.items())
        raise ValueError(f"{found}: must be as many of each, and at least 1")
    kinds = {what: _kind(what, given[what]) for what in (PREDICTIONS, REFERENCES) if what in given}
    scores: dict[str, float] = {}
    for name in names:
        _check_fit(name, kinds)
        scores |= EvaluateMetric(METRICS[name]()).compute(**_inputs(METRICS[name], given))
    return scores


def _kind(what: str, values: list[Any]) -> str:
    """Return what the values are: CLASSES, FIGURES or TEXTS, for references lists of texts."""
    if all(isinstance(value, numbers.Integral) for value in values):
        return CLASSES
    if all(isinstance(value, numbers.Real) for value in values):
        if num_bad := int((~np.isfinite(np.asarray(values, dtype=float))).sum()):
            raise ValueError(f"{num_bad} of {len(values)} {what} are not finite numbers")
        return FIGURES
    if all(_is_text(value) if what == PREDICTIONS else _are_texts(value) for value in values):
        return TEXTS
    wanted = "texts" if what == PREDICTIONS else "lists of texts"
    odd = next(value for value in values if type(value) is not type(values[0])) if _mixed(values) else values[0]
    raise ValueError(f"{what} must be all class numbers, all figures or all {wanted}; one of them is {odd!r}")


def _mixed(values: list[Any]) -> bool:
    return len({type(value) for value in values}) > 1


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(map(_is_text, value))


def _check_fit(name: str, kinds: dict[str, str]) -> None:
    """Hold a metric against what the answers are."""
    metric = METRICS[name]
    if REFERENCES in metric.inputs and REFERENCES not in kinds:
        raise ValueError(f"task.metrics has {name!r}, which needs labels, and they are hidden")
    for what, kind in kinds.items():
        if what in metric.inputs and metric.compares not in FITTING[kind]:
            fitting = ", ".join(other for other, cls in METRICS.items() if cls.compares in FITTING[kind])
            problem = f"task.metrics has {name!r}, which compares {metric.compares}, and the {what} are {kind}"
            raise ValueError(f"{problem}; for these there are: {fitting}")


def _check_groups(metric: type[LocalMetric]) -> None:
    """Refuse a metric of groups where there is no column of them."""
    if GROUPS in metric.inputs and not metric.pairs_rows:
        name = metric.name_of_score
        raise ValueError(f"task.metrics has {name!r}, which scores groups of examples; name their column: task.group")


def _inputs(metric: type[LocalMetric], given: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Return what the metric looks at."""
    if GROUPS in metric.inputs and GROUPS not in given:
        _check_groups(metric)
        given = given | {GROUPS: [number // 2 for number in range(len(given[PREDICTIONS]))]}
    inputs = {name: given[name] for name in metric.inputs}
    if GROUPS in inputs:
        inputs[GROUPS] = list(map(str, inputs[GROUPS]))
    return inputs
