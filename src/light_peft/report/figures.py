"""The figures that tables and reports give of a run, each with its name, its unit and where the record has it."""

from collections.abc import Callable
from dataclasses import dataclass

from light_peft.artifacts import RunRecord


@dataclass(frozen=True)
class Figure:
    """One figure of a finished run.

    Attributes:
        key: Its name in CSV and in code.
        title: Its name for people.
        unit: What `of` counts in; empty for a bare number.
        of: The figure of a record, in this unit. A record that lacks it (of an older layout, say) raises KeyError,
            TypeError or ZeroDivisionError: `value` asks with care.
        more_is_better: Whether a higher one is.
        digits: Decimals that are shown.
    """

    key: str
    title: str
    unit: str
    of: Callable[[RunRecord], float]
    more_is_better: bool
    digits: int

    def value(self, record: RunRecord) -> float | None:
        """Return the figure; None where the record lacks it."""
        try:
            return float(self.of(record))
        except (KeyError, TypeError, ZeroDivisionError):
            return None

    def shown(self, value: float) -> str:
        """Return a value as people read it, without its unit."""
        return f"{value:,.{self.digits}f}"


def _score(record: RunRecord) -> float:
    assert record.score is not None, "a finished run has a score"
    return 100 * record.score


def _blocks(record: RunRecord) -> float:
    return 100 * record.parameters["blocks_after"] / record.parameters["blocks_before"]


def _step_speed(record: RunRecord) -> float:
    return float(record.phases["train"]["examples"] / record.phases["train"]["seconds"])


def _infer(record: RunRecord) -> float:
    evaluation = record.phases["evaluate"]
    return float(evaluation["examples"] / evaluation["part_seconds"]["inference"])


FIGURES = {
    figure.key: figure
    for figure in (
        Figure("score", "score", "%", _score, more_is_better=True, digits=1),
        Figure("blocks", "blocks kept", "%", _blocks, more_is_better=False, digits=1),
        Figure(
            "trainables",
            "PEFT trainables",
            "",
            lambda record: record.parameters["trainable_after"],
            more_is_better=False,
            digits=0,
        ),
        Figure("step_speed", "training speed", "examples/s", _step_speed, more_is_better=True, digits=0),
        Figure("seconds", "whole run", "s", lambda record: record.totals["seconds"], more_is_better=False, digits=0),
        Figure(
            "memory",
            "peak memory",
            "MiB",
            lambda record: record.totals["peak_memory_bytes"] / 2**20,
            more_is_better=False,
            digits=0,
        ),
        Figure("infer", "inference speed", "examples/s", _infer, more_is_better=True, digits=0),
    )
}
"""By key: the score after the last step, x 100; the share of the blocks' parameters that stays; PEFT parameters that
train; the training phase's examples a second, evaluation left out; the seconds of all phases, with those of an
estimation that was taken over from another run; the highest memory of the process (allocated memory on a GPU); the
examples a second of evaluation, post-processing left out."""
