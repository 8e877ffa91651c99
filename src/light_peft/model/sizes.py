"""The sizes that a model's configuration and its tokenizer tell, held against each other and the machine."""

import os
from typing import Any

from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from light_peft.model.backbone import family_of

COUNTED = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
MAX_LAYERS = 1000
BYTES = 2
"""Of a parameter at least, as models are stored."""


def check_sizes(name: str, architecture: PretrainedConfig) -> None:
    """Hold the sizes of an architecture against what can be, and the least memory that they mean against the machine's.

    Raises:
        ValueError: If one is no whole number above 0, or the model cannot fit.
    """
    sizes: dict[str, Any] = {key: getattr(architecture, key, None) for key in COUNTED}
    sizes["FFN width"] = _num_neurons(architecture)
    for key, value in sizes.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"model={name}: {key} is {value!r}, must be a whole number above 0")
    layers, width = sizes["num_hidden_layers"], sizes["hidden_size"]
    if layers > MAX_LAYERS:
        raise ValueError(f"model={name}: num_hidden_layers is {layers}, must be {MAX_LAYERS} or less")
    read = [getattr(architecture, key, None) for key in ("embedding_size", "word_embed_proj_dim")]
    narrow = min([width, *(value for value in read if isinstance(value, int))])
    least = BYTES * (sizes["vocab_size"] * narrow + 2 * layers * width * sizes["FFN width"])
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if least > memory:
        raise ValueError(
            f"model={name}: its configuration (hidden_size {width}, {layers} layers, FFN width {sizes['FFN width']}, "
            f"vocab_size {sizes['vocab_size']}) asks for {least / 2**30:.4g} GiB at least, this machine has "
            f"{memory / 2**30:.4g}"
        )


def _num_neurons(architecture: PretrainedConfig) -> Any:
    """Return the width of the FFN; what is there instead, if it is no number."""
    try:
        return family_of(architecture).num_neurons(architecture)
    except (TypeError, AttributeError):
        return None


def check_vocabulary(name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Hold the tokens that a text may become against those that the model has.

    Added tokens that are not special ones are left alone: published models have such beyond their vocabulary.

    Raises:
        ValueError: If the tokenizer knows no words, as transformers makes it where its file is missing, or if it has
            tokens that the model has not.
    """
    words, special = tokenizer.get_vocab(), set(tokenizer.all_special_tokens)
    if not set(words) - special:
        raise ValueError(f"model={name}: its tokenizer has no vocabulary; is its tokenizer.json or vocab.txt missing?")
    added = {str(token) for token in tokenizer.added_tokens_decoder.values()} - special
    limit = model.config.vocab_size
    if beyond := sorted(token for token, number in words.items() if number >= limit and token not in added):
        raise ValueError(
            f"model={name}: its tokenizer has {len(beyond)} tokens, such as {beyond[0]!r}, that the model's vocabulary "
            f"of {limit} has not; they do not belong together"
        )
