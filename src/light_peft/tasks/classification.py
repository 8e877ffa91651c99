"""Classification and regression of one text or of a pair."""

from collections.abc import Mapping
from typing import Any

import datasets
import numpy as np
from transformers import PreTrainedTokenizerBase

from light_peft.data.labels import parse_labels
from light_peft.data.table import Table
from light_peft.data.text import map_quietly, strings, tokenize
from light_peft.model.head import CLASSIFICATION
from light_peft.tasks.formulation import EXAMPLE, GROUP, LABEL, LENGTH, Answers, Formulation
from light_peft.tasks.reading import TEXT, identifiers


class Classification(Formulation):
    """One class of several for one text or two, by a head on the whole input (Devlin et al. 2019, BERT)."""

    heads = (CLASSIFICATION,)

    def columns(self, *, labelled: bool) -> list[str]:
        """Return the text columns, those that identify or group examples, and the label's."""
        task = self.task
        known = [task.idx, task.group, task.label if labelled else None]
        return list(dict.fromkeys([*task.text, *(name for name in known if name)]))

    def examples(self, table: Table, *, labelled: bool) -> datasets.Dataset:
        """Return the texts, `LABEL` (class number, or figure), and `IDX` and `GROUP` if the task has them.

        Raises:
            ValueError: A text is not a string, or a label is not the task's.
        """
        columns: dict[str, list[Any]] = {name: strings(table, name) for name in self.task.text}
        features: dict[str, Any] = dict.fromkeys(columns, TEXT)
        if labelled:
            columns[LABEL], features[LABEL] = parse_labels(table, self.task), self.label_type()
        known = identifiers(table, self.task)
        columns, features = columns | known, features | dict.fromkeys(known, TEXT)
        return datasets.Dataset.from_dict(columns, features=datasets.Features(features))

    def label_type(self) -> Any:
        """Return the type of the label's column."""
        return datasets.ClassLabel(names=self.task.labels)

    def features(
        self, examples: datasets.Dataset, tokenizer: PreTrainedTokenizerBase, *, max_length: int, training: bool
    ) -> datasets.Dataset:
        """Return one feature per example, its longest text cut first; `labels` if there are labels."""

        def encode(batch: dict[str, list[Any]], numbers: list[int]) -> dict[str, list[Any]]:
            inputs = tokenize([batch[column] for column in self.task.text], tokenizer, max_length=max_length)
            notes = {EXAMPLE: numbers, LENGTH: [len(ids) for ids in inputs["input_ids"]]}
            return inputs | notes | ({"labels": batch[LABEL]} if LABEL in batch else {})

        return map_quietly(examples, encode)

    def answers(
        self,
        outputs: np.ndarray,
        features: datasets.Dataset,
        examples: datasets.Dataset,
        settings: Mapping[str, float],
    ) -> Answers:
        """Return the most likely class of every example."""
        columns = examples.column_names
        return Answers(
            predictions=self.decide(outputs),
            references=examples[LABEL][:] if LABEL in columns else None,
            groups=examples[GROUP][:] if GROUP in columns else None,
        )

    def decide(self, outputs: np.ndarray) -> list[Any]:
        """Return the prediction for outputs [N, classes]."""
        return list(outputs.argmax(axis=1).tolist())


class Regression(Classification):
    """A figure for one text or two, by a head of one output."""

    def label_type(self) -> Any:
        """Return the type of the label's column."""
        return datasets.Value("float64")

    def decide(self, outputs: np.ndarray) -> list[Any]:
        """Return the figure."""
        return list(outputs[:, 0].tolist())
