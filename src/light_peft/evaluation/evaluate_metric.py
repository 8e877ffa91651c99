"""A metric of ours as an `evaluate.Metric`, which checks what it is given."""

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np

from light_peft.evaluation.local_metric import CLASSES, FIGURES, GROUPS, PREDICTIONS, REFERENCES, TEXTS, LocalMetric

_TYPES: dict[str, Any] = {
    CLASSES: datasets.Value("int64"),
    FIGURES: datasets.Value("float64"),
    TEXTS: datasets.Value("string"),
}


class EvaluateMetric(evaluate.Metric):
    """A `LocalMetric`, kept in memory; any number of processes may compute it at once."""

    def __init__(self, metric: LocalMetric) -> None:
        """Keep everything in memory, with no part in any group of processes."""
        self._metric = metric
        super().__init__(keep_in_memory=True, num_process=1, process_id=0)

    def _build_data_dir(self) -> str:
        """Make no folder: nothing is written."""
        return ""

    def _info(self) -> evaluate.MetricInfo:
        value = _TYPES[self._metric.compares]
        reference = datasets.List(value) if self._metric.compares == TEXTS else value
        types = {PREDICTIONS: value, REFERENCES: reference, GROUPS: datasets.Value("string")}
        return evaluate.MetricInfo(
            description=str(type(self._metric).__doc__),
            citation="",
            features=datasets.Features({name: types[name] for name in self._metric.inputs}),
        )

    def _compute(self, **inputs: Sequence[Any]) -> dict[str, float]:
        """Return {`name_of_score`: figure}, or nothing where there is nothing to score."""
        metric, texts = self._metric, self._metric.compares == TEXTS
        figure = metric.score(*(inputs[name] if texts else np.asarray(inputs[name]) for name in metric.inputs))
        return {} if figure is None else {metric.name_of_score: float(figure)}
