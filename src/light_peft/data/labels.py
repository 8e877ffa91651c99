"""From labels as they are written to class numbers or figures."""

import math
from typing import Any

from light_peft.config import TaskConfig
from light_peft.data.table import Table, shown

TRUTH = ("False", "True")
"""Labels as the hub and Python spell JSON's false and true."""


def parse_labels(table: Table, task: TaskConfig) -> list[int] | list[float]:
    """Return the class number of every row, or its figure if the task is a regression.

    Raises:
        ValueError: a label is hidden (-1), is neither a name nor a number of `task.labels`, or is not a finite number.
    """
    values = table.columns[task.label]
    if task.formulation == "regression":
        return [_figure(table, index, task) for index in range(len(values))]
    numbers = _class_numbers(task)
    classes = [numbers.get(_spell(value)) for value in values]
    for index, number in enumerate(classes):
        if number is None:
            raise ValueError(_complaint(table, index, task))
    return [number for number in classes if number is not None]


def _class_numbers(task: TaskConfig) -> dict[str, int]:
    """Spelling -> class number; a name wins over a number, and True and False may be small."""
    numbers = {str(number): number for number in range(len(task.labels))}
    numbers |= {name.lower(): number for number, name in enumerate(task.labels) if name in TRUTH}
    return numbers | {name: number for number, name in enumerate(task.labels)}


def _spell(value: Any) -> str:
    """Return the text that is looked up; what is neither text, whole number nor truth value matches nothing."""
    return str(value) if isinstance(value, str | int) else ""


def _complaint(table: Table, index: int, task: TaskConfig) -> str:
    value = table.columns[task.label][index]
    if _spell(value) == "-1":
        return (
            f"{table.where(index)}: {task.label} is -1, a hidden test label, "
            "which can be neither trained on nor evaluated; give a labelled split"
        )
    allowed = f"one of: {', '.join(task.labels)}, or a number from 0 to {len(task.labels) - 1}"
    return f"{table.where(index)}: {task.label} is {shown(value)}, must be {allowed}"


def _figure(table: Table, index: int, task: TaskConfig) -> float:
    value = table.columns[task.label][index]
    try:
        figure = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        figure = math.nan
    if not math.isfinite(figure):
        raise ValueError(f"{table.where(index)}: {task.label} is {shown(value)}, must be a finite number")
    return figure
