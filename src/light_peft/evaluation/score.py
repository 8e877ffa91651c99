"""The score of answers."""

from collections.abc import Iterable, Mapping

from light_peft.config import TaskConfig
from light_peft.evaluation.metrics import compute_metrics
from light_peft.tasks.formulation import Answers


def score_splits(task: TaskConfig, answers: Mapping[str, Answers]) -> dict[str, float]:
    """Return the metrics of every split; with several splits each name begins with its split."""
    metrics: dict[str, float] = {}
    for split, found in answers.items():
        metrics |= {
            _qualified(split, name, answers): value for name, value in compute_metrics(task.metrics, found).items()
        }
    return metrics


def primary_name(task: TaskConfig, splits: Iterable[str]) -> str:
    """Return the name, among the metrics of `score_splits`, of the one that is the score."""
    names = dict.fromkeys(splits)
    return _qualified(next(iter(names)), task.primary_metric, names)


def _qualified(split: str, metric: str, splits: Iterable[str]) -> str:
    return f"{split}/{metric}" if len(list(splits)) > 1 else metric
