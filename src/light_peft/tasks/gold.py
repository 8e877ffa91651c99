"""The accepted answers of extractive questions, checked against their contexts."""

from typing import Any

from light_peft.config import TaskConfig
from light_peft.data.table import Table, shown

QUESTION, CONTEXT = "question", "context"
ANSWER_TEXT, ANSWER_START = "answer_text", "answer_start"
"""Columns of the examples: the accepted texts, none for no answer; the character at which each begins."""


def parse_ids(table: Table, column: str) -> list[str]:
    """Return the ids, all different: a submission has one answer for each.

    Raises:
        ValueError: An id is there twice.
    """
    seen: dict[str, int] = {}
    for index, value in enumerate(map(str, table.columns[column])):
        if value in seen:
            raise ValueError(f"{table.where(index)}: {column} {value!r} is that of {table.where(seen[value])} already")
        seen[value] = index
    return list(seen)


def parse_answers(table: Table, task: TaskConfig) -> tuple[list[list[str]], list[list[int]]]:
    """Return the accepted texts of each row, and where they begin in its context.

    Raises:
        ValueError: They are not given as {"text": [...], "answer_start": [...]}, there is none although the task has
            answers to all questions, or one does not stand in the context where it should; place and id are named.
    """
    parsed = [_row(table, index, task) for index in range(len(table))]
    return [texts for texts, _ in parsed], [starts for _, starts in parsed]


def _row(table: Table, index: int, task: TaskConfig) -> tuple[list[str], list[int]]:
    context, answers = table.columns[task.text[1]][index], table.columns[task.label][index]
    texts, starts = _lists(answers)
    if texts is None or starts is None or len(texts) != len(starts):
        raise ValueError(
            f"{_where(table, index, task)}: {task.label} is {shown(answers)}, must be "
            '{"text": [strings], "answer_start": [whole numbers]} with lists of one length'
        )
    if not texts and not task.span.no_answer:
        raise ValueError(
            f"{_where(table, index, task)}: there is no answer, and task.span.no_answer=false; "
            "SQuAD 2.0 is task=squad_v2"
        )
    for text, start in zip(texts, starts, strict=True):
        if not text.strip():
            raise ValueError(f"{_where(table, index, task)}: an answer is {text!r}; no answer is an empty list")
        if start < 0 or not context.startswith(text, start):
            found = context[max(start, 0) : max(start, 0) + len(text)]
            raise ValueError(
                f"{_where(table, index, task)}: the answer {shown(text)} should begin at character {start} of "
                f"{task.text[1]}, where there is {shown(found)}{_elsewhere(context, text)}"
            )
    return texts, starts


def _lists(answers: Any) -> tuple[list[str] | None, list[int] | None]:
    """Return the two lists, None for one that is missing or has a value of another type."""
    if not isinstance(answers, dict):
        return None, None
    texts, starts = answers.get("text"), answers.get("answer_start")
    strings = isinstance(texts, list) and all(isinstance(text, str) for text in texts)
    numbers = isinstance(starts, list) and all(type(start) is int for start in starts)
    return texts if strings else None, starts if numbers else None


def _where(table: Table, index: int, task: TaskConfig) -> str:
    name = f" ({task.idx} {table.columns[task.idx][index]!r})" if task.idx else ""
    return f"{table.where(index)}{name}"


def _elsewhere(context: str, text: str) -> str:
    place = context.find(text)
    return f"; it begins at {place}" if place >= 0 else "; it is nowhere in it"
