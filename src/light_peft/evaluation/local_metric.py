"""What a metric is: one figure of answers, kept in memory, that touches neither the network nor the disk."""

from typing import Any, ClassVar

CLASSES, FIGURES, TEXTS = "class numbers", "figures", "texts"
"""What answers can be."""
PREDICTIONS, REFERENCES, GROUPS = "predictions", "references", "groups"
"""What a metric may look at."""


class LocalMetric:
    """A metric of one figure; `EvaluateMetric` makes an `evaluate.Metric` of it.

    The metrics asked for are looked at before a run begins, and compute behind its training. So this is without
    `evaluate`, and a metric imports what it computes with where it does so: those libraries are slow to import.
    """

    name_of_score: ClassVar[str]
    """Key of the figure in the result."""
    compares: ClassVar[str] = CLASSES
    """CLASSES | FIGURES | TEXTS; the references of a text are a list of accepted ones."""
    inputs: ClassVar[tuple[str, ...]] = (PREDICTIONS, REFERENCES)
    """What `score` is given, in this order; `GROUPS` are names, equal for examples that are scored together."""
    pairs_rows: ClassVar[bool] = False
    """Whether examples 2k and 2k + 1 make a group where the task names no column of groups."""

    def score(self, *inputs: Any, **_: Any) -> float | None:
        """Return the figure of N >= 1 examples, None where none of them is what it is about.

        Inputs are arrays of shape (N,), or for texts lists.
        """
        raise NotImplementedError
