"""Tokenizers and questions for the tests of spans."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE, WordLevel
from tokenizers.trainers import BpeTrainer, WordLevelTrainer
from transformers import PreTrainedTokenizerFast

from light_peft.config import SpanConfig, TaskConfig
from light_peft.data.table import Table

CORPUS = (
    "The Norman dynasty had a major political, cultural and military impact on medieval Europe. In 1066 the Duke of "
    "Normandy conquered England; who was he? William, of course (\u201cthe Conqueror\u201d). \u00c9cole 5,000\u20ac "
    "\U0001f600\U0001f600 na\u00efve \uff34\uff28\uff25 1.5km"
)
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]


def encoder_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer of words and marks that closes pairs, `<s> A </s> B </s>` with types 0 and 1."""
    inner = Tokenizer(WordLevel(unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.train_from_iterator([CORPUS], WordLevelTrainer(special_tokens=SPECIAL))
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s>:0 $A:0 </s>:0 $B:1 </s>:1", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    names = {"cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=inner, model_input_names=inputs, **names)


def decoder_tokenizer(*, bos: bool) -> PreTrainedTokenizerFast:
    """Return a tokenizer of bytes without a mark between two texts; with `bos` one begins a text (Llama), else none."""
    inner = Tokenizer(BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    inner.train_from_iterator(
        [CORPUS] * 3, BpeTrainer(vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet)
    )
    inner.post_processor = processors.ByteLevel(trim_offsets=False)
    inner.decoder = decoders.ByteLevel()
    if bos:
        inner.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B:1", special_tokens=[("<s>", 1)]
        )
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    inputs = ["input_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=inner, model_input_names=inputs, **names)


TOKENIZERS = {
    "encoder": encoder_tokenizer,
    "bytes": lambda: decoder_tokenizer(bos=False),
    "bytes with bos": lambda: decoder_tokenizer(bos=True),
}


def span_task(**span: Any) -> TaskConfig:
    """Return a task like SQuAD with these settings of spans."""
    return TaskConfig(
        name="squad",
        formulation="span",
        text=["question", "context"],
        label="answers",
        idx="id",
        span=SpanConfig(**span),
        metrics=["exact_match"],
        primary_metric="exact_match",
    )


def table_of(*rows: tuple[str, str, Sequence[str]]) -> Table:
    """Return the questions, contexts and accepted answers, each at its first place, as objects of a file."""
    answers = [
        {"text": list(texts), "answer_start": [context.index(text) for text in texts]} for _, context, texts in rows
    ]
    columns: dict[str, list[Any]] = {
        "question": [question for question, _, _ in rows],
        "context": [context for _, context, _ in rows],
        "id": [f"q{number}" for number in range(len(rows))],
        "answers": answers,
    }
    return Table("dev.json", columns, range(1, len(rows) + 1), "object")


def logits_for(places: Sequence[tuple[int, int]], length: int, high: float = 5.0) -> np.ndarray:
    """Return outputs [W, 2, T] whose start and end are most likely at these places."""
    outputs = np.zeros((len(places), 2, length), np.float32)
    for window, (start, end) in enumerate(places):
        outputs[window, 0, start] = outputs[window, 1, end] = high
    return outputs
