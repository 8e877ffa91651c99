"""What choice and generation read of a table: the prompt's columns, lists of texts, what identifies an example."""

from collections.abc import Mapping, Sequence
from string import Formatter
from typing import Any

import datasets

from light_peft.config import TaskConfig
from light_peft.data.table import Table, shown
from light_peft.tasks.formulation import GROUP, IDX

TEXT: Any = datasets.Value("string")
TEXTS: Any = datasets.List(TEXT)


def text_columns(task: TaskConfig) -> list[str]:
    """Return the columns that hold the texts, those that the prompt names included.

    Raises:
        ValueError: If the prompt cannot be read.
    """
    named = [column for _, column in prompt_parts(task.prompt) if column] if task.prompt is not None else []
    return list(dict.fromkeys([*task.text, *named]))


def prompt_parts(prompt: str) -> list[tuple[str, str | None]]:
    """Return the pieces of a prompt: words, and the column whose text follows them, if one does.

    Raises:
        ValueError: If a brace stands alone, if braces hold more than a name, or if no column is named.
    """
    try:
        parts = list(Formatter().parse(prompt))
    except ValueError as error:
        raise ValueError(f"task.prompt={prompt!r}: {error}; a brace that is meant as such is doubled") from error
    for _, column, form, conversion in parts:
        if column == "" or form or conversion:
            raise ValueError(f"task.prompt={prompt!r}: braces must hold just the name of a column, as in {{question}}")
    if not any(column for _, column, _, _ in parts):
        raise ValueError(f"task.prompt={prompt!r}: it names no column, as in {{question}}")
    return [(words, column) for words, column, _, _ in parts]


def prompts_of(task: TaskConfig, batch: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the prompt of every example, filled in; without one the texts, joined by a space."""
    if task.prompt is None:
        return [" ".join(texts) for texts in zip(*(batch[column] for column in task.text), strict=True)]
    parts, number = prompt_parts(task.prompt), len(batch[text_columns(task)[0]])
    return ["".join(words + (batch[column][row] if column else "") for words, column in parts) for row in range(number)]


def text_lists(table: Table, column: str) -> list[list[str]]:
    """Return a column of lists of texts.

    Raises:
        ValueError: If a value is no list of strings.
    """
    for index, values in enumerate(table.columns[column]):
        if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
            raise ValueError(f"{table.where(index)}: {column} is {shown(values)}, must be a list of strings")
    return list(map(list, table.columns[column]))


def accepted_texts(table: Table, column: str) -> list[list[str]]:
    """Return the texts that are accepted as an answer to each example; a text alone is a list of one.

    Raises:
        ValueError: If a value is neither, or if there is no text in it, as where labels are hidden.
    """
    values = [[value] if isinstance(value, str) else value for value in table.columns[column]]
    texts = text_lists(Table(table.source, {column: values}, table.places, table.unit), column)
    for index, accepted in enumerate(texts):
        if not any(text.strip() for text in accepted):
            raise ValueError(
                f"{table.where(index)}: {column} is {shown(table.columns[column][index])}, which holds no answer; "
                "without one an example can be neither trained on nor evaluated; give a labelled split"
            )
    return texts


def identifiers(table: Table, task: TaskConfig) -> dict[str, list[str]]:
    """Return `IDX` and `GROUP`, as far as the task has them."""
    known = {IDX: task.idx, GROUP: task.group}
    return {name: list(map(str, table.columns[column])) for name, column in known.items() if column}
