"""A choice by a head of one output on each candidate.

Shape suffixes: C candidates of all examples of a batch, E examples of a batch, K candidates per example at most.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import datasets
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase

from light_peft.data.batches import NOTE, Batch
from light_peft.data.text import map_quietly, tokenize
from light_peft.model.head import CLASSIFICATION
from light_peft.tasks.candidates import sample
from light_peft.tasks.choice import CHOICES, Choice
from light_peft.tasks.formulation import EXAMPLE, LABEL, LENGTH, Collate
from light_peft.tasks.reading import prompts_of

CANDIDATES, RIGHT = "candidates", "right"
"""Columns of a training batch [E, K]: the rows that are an example's candidates, -1 where it has fewer; 1 where the
candidate is right."""


class ChoiceByHead(Choice):
    """Each candidate is read behind its context and scored by a head; the scores of an example share a softmax.

    With several right candidates (mentions of one entity) the loss is minus the logarithm of their summed probability.
    """

    heads = (CLASSIFICATION,)
    bound_to_batch = "an example of a choice by a head is several rows of a batch"

    def features(
        self, examples: datasets.Dataset, tokenizer: PreTrainedTokenizerBase, *, max_length: int, training: bool
    ) -> datasets.Dataset:
        """Return one feature per candidate; in training one per example, its columns lists over the candidates."""
        kept = self.read(examples, training=training)
        # Where no token stands between the two texts, a space must.
        gap = " " if tokenizer.sep_token is None else ""

        def encode(batch: dict[str, list[Any]], rows: list[int]) -> dict[str, list[Any]]:
            contexts, numbers = prompts_of(self.task, batch), [kept[row] for row in rows]
            chosen = self._chosen(batch, numbers, training=training)
            behind = [
                gap + own[index] for own, indices in zip(batch[CHOICES], chosen, strict=True) for index in indices
            ]
            before = _repeat(contexts, chosen)
            # A prompt ends in what is asked, so that it loses its beginning, as it does before a continuation.
            prompted = self.task.prompt is not None
            inputs = tokenize([before, behind], tokenizer, max_length=max_length, keep_ends=prompted)
            lengths, example = [len(ids) for ids in inputs["input_ids"]], _repeat(numbers, chosen)
            if not training:
                return inputs | {EXAMPLE: example, LENGTH: lengths}
            pairs = zip(batch[LABEL], chosen, strict=True)
            right = [int(index in own) for own, indices in pairs for index in indices]
            nested = {name: _nest(column, chosen) for name, column in (inputs | {RIGHT: right}).items()}
            return nested | {EXAMPLE: numbers, LENGTH: list(map(max, _nest(lengths, chosen)))}

        return map_quietly(examples.select(kept), encode)

    def _chosen(self, batch: dict[str, list[Any]], numbers: list[int], *, training: bool) -> list[list[int]]:
        """Return the candidates of each example that are read: all of them, but in training a sample."""
        if not training:
            return [list(range(len(own))) for own in batch[CHOICES]]
        rows = zip(batch[LABEL], batch[CHOICES], numbers, strict=True)
        return [sample(right, len(own), self.task.choice.max_train, number) for right, own, number in rows]

    def collate(self, tokenizer: PreTrainedTokenizerBase, *, training: bool, **padding: Any) -> Collate:
        """Return what makes a batch; in training of all candidates of its examples, with `CANDIDATES` and `RIGHT`."""
        pad: Any = DataCollatorWithPadding(tokenizer, **padding)
        return (lambda features: _flat(features, pad)) if training else pad

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Return minus the logarithm of the right candidates' summed probability, the mean over the examples."""
        rows_EK, right_EK = batch[CANDIDATES], batch[RIGHT]
        scores_C = self.outputs(model, {name: batch[name] for name in batch if name not in (CANDIDATES, RIGHT)})
        scores_EK = scores_C[rows_EK.clamp(min=0)].masked_fill(rows_EK < 0, -torch.inf)
        of_right_E = scores_EK.masked_fill(right_EK == 0, -torch.inf).logsumexp(dim=1)
        return (scores_EK.logsumexp(dim=1) - of_right_E).mean()

    def weight(self, batch: Batch) -> int:
        """Return the number of examples."""
        return len(batch[RIGHT])

    def outputs(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the score of each candidate [C]."""
        scores_C: torch.Tensor = model(**batch).logits[:, 0]
        return scores_C.float()


def _repeat(values: Sequence[Any], chosen: Sequence[Sequence[int]]) -> list[Any]:
    """Return the value of each example once per candidate."""
    return [value for value, own in zip(values, chosen, strict=True) for _ in own]


def _nest(column: Sequence[Any], chosen: Sequence[Sequence[int]]) -> list[Any]:
    """Return the values of all candidates, one list per example."""
    return [column[start:end] for start, end in pairwise(accumulate(map(len, chosen), initial=0))]


def _flat(features: list[dict[str, Any]], pad: Any) -> Batch:
    """Return the batch of all candidates of some examples."""
    names = [name for name in features[0] if name != RIGHT and not name.startswith(NOTE)]
    rows = (row for feature in features for row in zip(*(feature[name] for name in names), strict=True))
    flat = [dict(zip(names, row, strict=True)) for row in rows]
    right = [torch.tensor(feature[RIGHT]) for feature in features]
    numbers = torch.arange(len(flat)).split([len(own) for own in right])
    return dict(pad(flat)) | {
        CANDIDATES: pad_sequence(list(numbers), batch_first=True, padding_value=-1),
        RIGHT: pad_sequence(right, batch_first=True),
    }
