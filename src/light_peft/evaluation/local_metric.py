"""What a metric is: an `evaluate.Metric` of one figure that touches neither the network nor the disk."""

from collections.abc import Sequence
from typing import Any, ClassVar

import datasets
import evaluate
import numpy as np

CLASSES, FIGURES, TEXTS = "class numbers", "figures", "texts"
"""What answers can be."""
PREDICTIONS, REFERENCES, GROUPS = "predictions", "references", "groups"
"""What a metric may look at."""

_TYPES: dict[str, Any] = {
    CLASSES: datasets.Value("int64"),
    FIGURES: datasets.Value("float64"),
    TEXTS: datasets.Value("string"),
}


class LocalMetric(evaluate.Metric):
    """A metric of one figure, kept in memory; any number of processes may compute it at once."""

    name_of_score: ClassVar[str]
    """Key of the figure in the result."""
    compares: ClassVar[str] = CLASSES
    """CLASSES | FIGURES | TEXTS; the references of a text are a list of accepted ones."""
    inputs: ClassVar[tuple[str, ...]] = (PREDICTIONS, REFERENCES)
    """What `score` is given, in this order; `GROUPS` are names, equal for examples that are scored together."""
    pairs_rows: ClassVar[bool] = False
    """Whether examples 2k and 2k + 1 make a group where the task names no column of groups."""

    def __init__(self) -> None:
        """Keep everything in memory, with no part in any group of processes."""
        super().__init__(keep_in_memory=True, num_process=1, process_id=0)

    def _build_data_dir(self) -> str:
        """Make no folder: nothing is written."""
        return ""

    def _info(self) -> evaluate.MetricInfo:
        value = _TYPES[self.compares]
        reference = datasets.List(value) if self.compares == TEXTS else value
        types = {PREDICTIONS: value, REFERENCES: reference, GROUPS: datasets.Value("string")}
        return evaluate.MetricInfo(
            description=str(type(self).__doc__),
            citation="",
            features=datasets.Features({name: types[name] for name in self.inputs}),
        )

    def _compute(self, **inputs: Sequence[Any]) -> dict[str, float]:
        """Return {`name_of_score`: figure}, or nothing where there is nothing to score."""
        texts = self.compares == TEXTS
        figure = self.score(*(inputs[name] if texts else np.asarray(inputs[name]) for name in self.inputs))
        return {} if figure is None else {self.name_of_score: float(figure)}

    def score(self, *inputs: Any, **_: Any) -> float | None:
        """Return the figure of N >= 1 examples, None where none of them is what it is about.

        Inputs are arrays of shape (N,), or for texts lists.
        """
        raise NotImplementedError
