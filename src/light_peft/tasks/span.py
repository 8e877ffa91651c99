"""An answer that is a piece of the text: SQuAD 1.1, and 2.0, where a text may hold no answer.

Shape suffixes: B batch, E examples, T tokens.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import datasets
import numpy as np
import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from light_peft.config import TaskConfig
from light_peft.data.batches import Batch
from light_peft.data.table import Table
from light_peft.data.text import map_quietly, strings
from light_peft.model.head import SPAN
from light_peft.tasks.formulation import EXAMPLE, IDX, NO_ANSWER, Answers, Formulation
from light_peft.tasks.gold import ANSWER_START, ANSWER_TEXT, CONTEXT, QUESTION, parse_answers, parse_ids
from light_peft.tasks.pieces import Pieces, best_threshold, find_pieces
from light_peft.tasks.texts import token_f1
from light_peft.tasks.windows import Cutter, Tokens

NULL_THRESHOLD = "null_threshold"
"""Setting: the highest `Pieces.null_diff_E` with which an answer is given."""


class Span(Formulation):
    """A start and an end among the tokens of the text (Devlin et al. 2019, BERT, sections 4.2 and 4.3).

    A long text is read in windows; the best window answers. In training a window that does not hold the whole answer
    is one without an answer, in either version of SQuAD.
    """

    heads = (SPAN,)
    fill = -1e30
    bound_to_batch = "the probabilities of a span task go over the padding, too"

    def __init__(self, task: TaskConfig) -> None:
        """Hold the task against what a span needs.

        Raises:
            ValueError: If its texts are not two.
        """
        super().__init__(task)
        if len(task.text) != 2:
            raise ValueError(f"task.text={list(task.text)}: a span task has two columns, question and context")

    def columns(self, *, labelled: bool) -> list[str]:
        """Return the columns of question and context, of the ids, and of the answers."""
        known = [self.task.idx, self.task.label if labelled else None]
        return [*self.task.text, *(name for name in known if name)]

    def examples(self, table: Table, *, labelled: bool) -> datasets.Dataset:
        """Return `QUESTION`, `CONTEXT`, `IDX` if the task has ids, `ANSWER_TEXT` and `ANSWER_START` if labelled.

        Raises:
            ValueError: A text is no string, an id is there twice, or an answer is not what stands in the
                context at its place; place and id are named.
        """
        columns: dict[str, list[Any]] = dict(
            zip((QUESTION, CONTEXT), (strings(table, name) for name in self.task.text), strict=True)
        )
        features: dict[str, Any] = dict.fromkeys(columns, datasets.Value("string"))
        if self.task.idx:
            columns[IDX], features[IDX] = parse_ids(table, self.task.idx), datasets.Value("string")
        if labelled:
            columns[ANSWER_TEXT], columns[ANSWER_START] = parse_answers(table, self.task)
            features[ANSWER_TEXT] = datasets.List(datasets.Value("string"))
            features[ANSWER_START] = datasets.List(datasets.Value("int64"))
        return datasets.Dataset.from_dict(columns, features=datasets.Features(features))

    def inputs(self) -> list[str]:
        """Return the columns of question and context."""
        return [QUESTION, CONTEXT]

    def features(
        self, examples: datasets.Dataset, tokenizer: PreTrainedTokenizerBase, *, max_length: int, training: bool
    ) -> datasets.Dataset:
        """Return the windows of every example, in training with the places of the answer, else with the notes."""
        cutter = Cutter(tokenizer, max_length=max_length, stride=self.task.span.stride)
        rows_of = _training_rows if training else _evaluation_rows

        def encode(batch: dict[str, list[Any]], numbers: list[int]) -> dict[str, list[Any]]:
            rows = list(rows_of(cutter, batch, numbers))
            return {name: [row[name] for row in rows] for name in rows[0]}

        return map_quietly(examples, encode)

    def outputs(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the start and end logits [B, 2, T] in fp32."""
        output = model(**batch)
        return torch.stack((output.start_logits, output.end_logits), dim=1).float()

    def held_out(self, num_train: int) -> int:
        """Return how many training examples find the threshold; none where every text holds an answer."""
        return min(self.task.span.hold_out, num_train // 10) if self.task.span.no_answer else 0

    def unit(self) -> str | None:
        """Return the column of the contexts: those that find the threshold shall not have been trained on."""
        return CONTEXT

    def calibrate(
        self, outputs: np.ndarray, features: datasets.Dataset, examples: datasets.Dataset
    ) -> dict[str, float]:
        """Return the `NULL_THRESHOLD` with which the mean F1 of these examples is highest."""
        if not self.task.span.no_answer:
            return {}
        found, accepted = self.find(outputs, features, examples), examples[ANSWER_TEXT][:]
        f1_E = np.array([token_f1(text, texts) for text, texts in zip(found.texts, accepted, strict=True)])
        return {NULL_THRESHOLD: best_threshold(found.null_diff_E, f1_E, np.array(list(map(bool, accepted))))}

    def answers(
        self,
        outputs: np.ndarray,
        features: datasets.Dataset,
        examples: datasets.Dataset,
        settings: Mapping[str, float],
    ) -> Answers:
        """Return the best piece of every context, and the lists of accepted texts, which are empty for no answer.

        If a text may hold none, "" stands for no answer: where it is more likely by `NULL_THRESHOLD`, or by 0
        if no threshold was found.
        """
        found = self.find(outputs, features, examples)
        references = examples[ANSWER_TEXT][:] if ANSWER_TEXT in examples.column_names else None
        if not self.task.span.no_answer:
            return Answers(found.texts, references)
        silent_E = found.null_diff_E > settings.get(NULL_THRESHOLD, 0.0)
        texts = ["" if silent else text for text, silent in zip(found.texts, silent_E.tolist(), strict=True)]
        return Answers(texts, references, extras={NO_ANSWER: (0.5 + 0.5 * np.tanh(found.null_diff_E / 2)).tolist()})

    def find(self, outputs: np.ndarray, features: datasets.Dataset, examples: datasets.Dataset) -> Pieces:
        """Return the best piece of each context for outputs [features, 2, T]."""
        span = self.task.span
        return find_pieces(
            outputs, features, examples[CONTEXT][:], n_best=span.n_best, max_tokens=span.max_answer_tokens
        )

    def fingerprint(self) -> dict[str, Any]:
        """Return the settings on which features depend."""
        return super().fingerprint() | {"stride": self.task.span.stride}


def _training_rows(cutter: Cutter, batch: dict[str, list[Any]], numbers: list[int]) -> Iterator[dict[str, Any]]:
    """Yield the windows with the places of the first accepted answer, or of no answer."""
    tokens = cutter.tokens(batch[QUESTION], batch[CONTEXT])
    golds = zip(batch[ANSWER_TEXT], batch[ANSWER_START], strict=True)
    for number, (question, context), (texts, starts) in zip(numbers, tokens, golds, strict=True):
        span = _tokens_of_answer(context, texts[0], starts[0]) if texts else None
        for window in cutter.windows(question, context):
            start, end = window.find(span)
            yield {**window.inputs(typed=cutter.typed), EXAMPLE: number, "start_positions": start, "end_positions": end}


def _tokens_of_answer(context: Tokens, text: str, start: int) -> tuple[int, int] | None:
    """Return the tokens of an answer; a space around it would take in the next word, where a token begins with one."""
    begin = start + len(text) - len(text.lstrip())
    return context.span(begin, begin + len(text.strip()))


def _evaluation_rows(cutter: Cutter, batch: dict[str, list[Any]], numbers: list[int]) -> Iterator[dict[str, Any]]:
    """Yield the windows with the notes that lead back to characters."""
    for number, (question, context) in zip(numbers, cutter.tokens(batch[QUESTION], batch[CONTEXT]), strict=True):
        for window in cutter.windows(question, context):
            yield {**window.inputs(typed=cutter.typed), EXAMPLE: number, **window.notes(context)}
