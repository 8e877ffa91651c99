"""From examples to features, which are encoded once for all runs that read the same."""

import hashlib
import io
import json
from typing import Any

import datasets
import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import tokenizers
import transformers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from light_peft.tasks.cache import OFF, cached
from light_peft.tasks.formulation import Formulation

VERSION = 2
"""To be counted up whenever a formulation makes other features of the same examples, settings and tokenizer."""
MIN_EXAMPLES = 2000
"""Fewer examples are encoded anew: to look for them takes as long."""
_ROWS = 10_000
"""Rows that are hashed at once."""


def encoded(
    formulation: Formulation,
    examples: datasets.Dataset,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    training: bool,
    cache_dir: str | None,
) -> datasets.Dataset:
    """Return the features of the examples: from the cache if they are there, else encoded and put there.

    Args:
        formulation: What makes the features.
        examples: The examples.
        tokenizer: Features of one that is not a fast tokenizer are not kept, for its state cannot be seen whole.
        max_length: Tokens per feature at most.
        training: Whether the features are for training.
        cache_dir: Folder of the cache, see `light_peft.tasks.cache.cached`.
    """

    def encode() -> datasets.Dataset:
        return formulation.features(examples, tokenizer, max_length=max_length, training=training)

    if cache_dir == OFF or len(examples) < MIN_EXAMPLES or not isinstance(tokenizer, PreTrainedTokenizerFast):
        return encode()
    key = {
        "version": VERSION,
        "examples": digest_of_examples(examples),
        "formulation": formulation.fingerprint(),
        "tokenizer": digest_of_tokenizer(tokenizer),
        "max_length": max_length,
        "training": training,
        "libraries": [transformers.__version__, tokenizers.__version__],
    }
    return cached(encode, key, cache_dir)


def digest_of_examples(examples: datasets.Dataset) -> str:
    """Return the sha256 (hex) of all columns: names, types and values, in their order."""
    table: pa.Table = examples.with_format("arrow")[:].replace_schema_metadata(None)
    sink = _DigestSink()
    sink.write(repr(examples.features).encode())
    with pa.ipc.new_stream(sink, table.schema) as stream:
        for start in range(0, len(table), _ROWS):
            part = table.slice(start, _ROWS)
            # Taken row by row, a part of a larger table has the same bytes as a table of its own.
            stream.write_table(part.take(pa.array(np.arange(len(part)))).combine_chunks())
    return sink.digest.hexdigest()


def digest_of_tokenizer(tokenizer: PreTrainedTokenizerFast) -> str:
    """Return the sha256 (hex) of all that decides on ids and masks; how the last call padded and cut does not."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str()) | {"padding": None, "truncation": None}
    state: dict[str, Any] = {
        "class": type(tokenizer).__name__,
        "backend": backend,
        "special_tokens": {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
        "inputs": tokenizer.model_input_names,
        "sides": [tokenizer.padding_side, tokenizer.truncation_side],
        "split_special_tokens": tokenizer.split_special_tokens,
    }
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


class _DigestSink(io.RawIOBase):
    """A file that keeps nothing but the sha256 of what is written to it."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return len(data)
