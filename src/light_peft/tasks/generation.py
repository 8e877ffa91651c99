"""A short answer that a decoder writes.

Shape suffixes: B batch, N new tokens.
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import datasets
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import DataCollatorWithPadding, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from light_peft.data.batches import Batch
from light_peft.data.table import Table
from light_peft.data.text import map_quietly, strings
from light_peft.model.head import LANGUAGE_MODEL
from light_peft.model.layout import NoHeads
from light_peft.model.sharding import inside
from light_peft.tasks.continuation import Continuations, collator, mean_loss, num_scored
from light_peft.tasks.formulation import EXAMPLE, GROUP, LABEL, LENGTH, Answers, Collate, Formulation
from light_peft.tasks.reading import TEXT, TEXTS, accepted_texts, identifiers, prompts_of, text_columns

NO_TOKEN = -1
"""What stands behind the end of an answer."""


class Generation(Formulation):
    """The model goes on from the prompt, each time with the most likely token, to the end of its answer."""

    heads = (LANGUAGE_MODEL,)
    fill = float(NO_TOKEN)
    _tokenizer: PreTrainedTokenizerBase | None = None

    def columns(self, *, labelled: bool) -> list[str]:
        """Return the text columns, those that identify or group examples, and the label's."""
        task = self.task
        known = [task.idx, task.group, task.label if labelled else None]
        return list(dict.fromkeys([*text_columns(task), *(name for name in known if name)]))

    def examples(self, table: Table, *, labelled: bool) -> datasets.Dataset:
        """Return the texts and `LABEL`, the list of accepted answers.

        Raises:
            ValueError: A text is not a string, or a label holds no answer.
        """
        columns: dict[str, list[Any]] = {name: strings(table, name) for name in text_columns(self.task)}
        if labelled:
            columns[LABEL] = accepted_texts(table, self.task.label)
        columns |= identifiers(table, self.task)
        features = {name: TEXTS if name == LABEL else TEXT for name in columns}
        return datasets.Dataset.from_dict(columns, features=datasets.Features(features))

    def inputs(self) -> list[str]:
        """Return the columns of texts."""
        return text_columns(self.task)

    def features(
        self, examples: datasets.Dataset, tokenizer: PreTrainedTokenizerBase, *, max_length: int, training: bool
    ) -> datasets.Dataset:
        """Return the prompts, with room behind them for an answer; in training with the first accepted one.

        Raises:
            ValueError: If no room is left for a prompt.
        """
        most = self.task.generation.max_new_tokens
        encoder = Continuations(tokenizer, max_length, reserved=most)
        if most + len(encoder.start) >= max_length:
            raise ValueError(
                f"task.generation.max_new_tokens={most}: that leaves no room for a prompt within "
                f"data.max_length={max_length}; lower the former or raise the latter"
            )
        end = end_tokens(tokenizer)

        def encode(batch: dict[str, list[Any]], numbers: list[int]) -> dict[str, list[Any]]:
            prompts = prompts_of(self.task, batch)
            if training:
                pairs = encoder.encode(prompts, [[next(filter(str.strip, texts))] for texts in batch[LABEL]])
                return encoder.columns([(prompt, [*answer, *end]) for prompt, answer in pairs]) | {EXAMPLE: numbers}
            ids = encoder.prompts(prompts)
            return {
                "input_ids": ids,
                "attention_mask": [[1] * len(own) for own in ids],
                LENGTH: list(map(len, ids)),
                EXAMPLE: numbers,
            }

        features = map_quietly(examples, encode)
        encoder.warn("answers were")
        return features

    def collate(self, tokenizer: PreTrainedTokenizerBase, *, training: bool, **padding: Any) -> Collate:
        """Return what makes a batch; prompts that are gone on from are padded on the left."""
        if training:
            return collator(tokenizer, **padding)
        self._tokenizer = copy.copy(tokenizer)
        self._tokenizer.padding_side = "left"
        return DataCollatorWithPadding(self._tokenizer, **padding)

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Return minus the mean log-probability of the tokens of the answers and of their ends."""
        return mean_loss(model, batch)

    def weight(self, batch: Batch) -> torch.Tensor:
        """Return the number of tokens of the answers and their ends."""
        return num_scored(batch)

    def outputs(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the ids of the tokens that the model writes [B, N], `NO_TOKEN` from the end of each answer on."""
        tokenizer, most = self._known_tokenizer(), self.task.generation.max_new_tokens
        writer, ends = language_model(model), stop_tokens(tokenizer)
        greedy = GenerationConfig(
            max_new_tokens=most,
            do_sample=False,
            num_beams=1,
            use_cache=all_layers_have_heads(writer),
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=ends or None,
        )
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        with _plain_generation(writer):
            whole: Any = inside(model, lambda: cast(Any, writer).generate(**inputs, generation_config=greedy))
        written_BN = whole[:, batch["input_ids"].shape[1] :]
        is_end_BN = torch.isin(written_BN, torch.tensor(ends, dtype=torch.long, device=written_BN.device))
        answers_BN = written_BN.masked_fill(is_end_BN.cumsum(dim=1) > 0, NO_TOKEN)
        return F.pad(answers_BN, (0, most - answers_BN.shape[1]), value=NO_TOKEN)

    def answers(
        self,
        outputs: np.ndarray,
        features: datasets.Dataset,
        examples: datasets.Dataset,
        settings: Mapping[str, float],
    ) -> Answers:
        """Return the first line of what was written for every example."""
        tokenizer, columns = self._known_tokenizer(), examples.column_names
        ids = [[int(token) for token in row if token != NO_TOKEN] for row in outputs]
        texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
        return Answers(
            predictions=[text.strip().partition("\n")[0].strip() for text in texts],
            references=examples[LABEL][:] if LABEL in columns else None,
            groups=examples[GROUP][:] if GROUP in columns else None,
        )

    def fingerprint(self) -> dict[str, Any]:
        """Return the settings on which features depend."""
        return super().fingerprint() | {"max_new_tokens": self.task.generation.max_new_tokens}

    def _known_tokenizer(self) -> PreTrainedTokenizerBase:
        assert self._tokenizer is not None, "batches come before outputs, and outputs before answers"
        return self._tokenizer


def end_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return what ends an answer in training: the token for the end of a text, or else a new line, if there is one."""
    for token in (tokenizer.eos_token_id, tokenizer.sep_token_id):
        if token is not None:
            return [int(token)]
    return list(tokenizer("\n", add_special_tokens=False)["input_ids"])


def stop_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the tokens at which writing stops: the one for the end of a text, or else all that hold a new line."""
    if tokenizer.eos_token_id is not None or tokenizer.sep_token_id is not None:
        return end_tokens(tokenizer)
    # A byte-level vocabulary writes the new line as this letter, one with byte fallback as its number.
    likely = [number for token, number in tokenizer.get_vocab().items() if any(mark in token for mark in NEW_LINES)]
    return sorted(number for number in likely if "\n" in tokenizer.decode([number]))


NEW_LINES = ("\n", "Ċ", "<0x0A>")
"""How vocabularies write a new line."""


def language_model(model: nn.Module) -> PreTrainedModel:
    """Return the language model inside PEFT and whatever else is around it; PEFT in its layers stays in effect."""
    return next(module for module in model.modules() if isinstance(module, PreTrainedModel))


def all_layers_have_heads(model: nn.Module) -> bool:
    """Return whether keys and values can be kept: they count the tokens, and a layer without heads has none."""
    return not any(isinstance(module, NoHeads) for module in model.modules())


@contextmanager
def _plain_generation(model: PreTrainedModel) -> Iterator[None]:
    """Set aside, inside the block, how the model's own publishers want it to write (penalties, sampling)."""
    own, model.generation_config = model.generation_config, GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own
