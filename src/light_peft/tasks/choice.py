"""A choice among candidates: what its two ways share, by a head (`choice_head`) and by likelihood."""

import logging
from collections.abc import Mapping
from typing import Any

import datasets
import numpy as np

from light_peft.data.table import Table
from light_peft.data.text import strings
from light_peft.tasks.candidates import best_of_each, candidates_of, names_of, right_names, right_numbers
from light_peft.tasks.formulation import EXAMPLE, GROUP, LABEL, Answers, Formulation
from light_peft.tasks.reading import TEXT, TEXTS, accepted_texts, identifiers, text_columns

CHOICES, NAMES, KEYS, ACCEPTED = "choices", "names", "keys", "accepted"
"""Columns of the examples: the candidates; what each is called, and how it is written in predictions; the accepted
names. `LABEL`: the right numbers."""

logger = logging.getLogger(__name__)


class Choice(Formulation):
    """What both ways of choosing share: examples and answers."""

    def columns(self, *, labelled: bool) -> list[str]:
        """Return the columns of texts, candidates and names, those that identify or group examples, and the label's."""
        task = self.task
        known = [task.choice.names, task.choice.keys, task.idx, task.group, task.label if labelled else None]
        return list(dict.fromkeys([*text_columns(task), *task.choice.columns, *(name for name in known if name)]))

    def examples(self, table: Table, *, labelled: bool) -> datasets.Dataset:
        """Return texts, `CHOICES`, `LABEL` (numbers of the right ones), and `NAMES` and `ACCEPTED` if they have names.

        Raises:
            ValueError: A text or a candidate is not a string, there are fewer than two candidates, or a label is
                none of theirs.
        """
        task = self.task
        columns: dict[str, list[Any]] = {name: strings(table, name) for name in text_columns(task)}
        texts = dict.fromkeys(columns, TEXT)
        named = task.choice.names is not None
        # A text may name one thing only; where candidates are written for a question, one alone is a mistake.
        columns[CHOICES] = candidates_of(table, task.choice.columns, fewest=1 if named else 2)
        for name, column in ((NAMES, task.choice.names), (KEYS, task.choice.keys)):
            if column is not None:
                columns[name] = names_of(table, column, columns[CHOICES])
        if labelled and NAMES in columns:
            columns[ACCEPTED] = accepted_texts(table, task.label)
            columns[LABEL] = right_names(columns[ACCEPTED], columns[NAMES])
        elif labelled:
            columns[LABEL] = right_numbers(table, task, columns[CHOICES])
        columns |= identifiers(table, task)
        lists = {
            CHOICES: TEXTS,
            NAMES: TEXTS,
            KEYS: TEXTS,
            ACCEPTED: TEXTS,
            LABEL: datasets.List(datasets.Value("int64")),
        }
        features = {name: texts.get(name) or lists.get(name, TEXT) for name in columns}
        return datasets.Dataset.from_dict(columns, features=datasets.Features(features))

    def inputs(self) -> list[str]:
        """Return the columns of texts and candidates."""
        return [*text_columns(self.task), CHOICES]

    def values(self, outputs: np.ndarray, features: datasets.Dataset, examples: datasets.Dataset) -> np.ndarray:
        """Return what candidates are compared by [N], the larger the better."""
        return outputs

    def answers(
        self,
        outputs: np.ndarray,
        features: datasets.Dataset,
        examples: datasets.Dataset,
        settings: Mapping[str, float],
    ) -> Answers:
        """Return the best candidate of every example, its number or its name."""
        columns = {name: examples[name][:] for name in examples.column_names}
        best: list[Any] = best_of_each(self.values(outputs, features, examples), np.asarray(features[EXAMPLE][:]))
        assert len(best) == len(examples), "every example has candidates"
        references, written = columns.get(ACCEPTED), None
        if KEYS in columns:
            written = [keys[number] for keys, number in zip(columns[KEYS], best, strict=True)]
        if NAMES in columns:
            best = [names[number] for names, number in zip(columns[NAMES], best, strict=True)]
        elif LABEL in columns:
            references = [right[0] for right in columns[LABEL]]
        return Answers(predictions=best, references=references, groups=columns.get(GROUP), written=written)

    def read(self, examples: datasets.Dataset, *, training: bool) -> list[int]:
        """Return the numbers of the examples that are read; one without a right candidate cannot be trained on.

        Raises:
            ValueError: If none is left.
        """
        if not training:
            return list(range(len(examples)))
        kept = [number for number, right in enumerate(examples[LABEL][:]) if right]
        if not kept:
            raise ValueError(f"task {self.task.name}: no training example has an accepted answer among its candidates")
        if len(kept) < len(examples):
            left_out = len(examples) - len(kept)
            logger.warning("%d training examples are left out: no candidate of theirs is an accepted answer", left_out)
        return kept

    def fingerprint(self) -> dict[str, Any]:
        """Return the settings on which features depend."""
        return super().fingerprint() | {"max_train": self.task.choice.max_train}
