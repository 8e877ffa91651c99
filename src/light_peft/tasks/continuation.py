"""What follows a prompt, as a decoder with a language-model head reads and scores it.

Shape suffixes: B batch, T tokens, K positions whose logits are computed, N tokens that are scored, V vocabulary.
"""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase

from light_peft.data.batches import Batch
from light_peft.tasks.formulation import LENGTH, Collate

FIRST = "first"
"""Column of the features: where the continuation begins, in tokens; it goes on to the end."""
NUM_TOKENS = "_num_tokens"
"""Column of the features: tokens of the continuation."""
FEATURE = ("input_ids", "attention_mask", FIRST, LENGTH, NUM_TOKENS)
"""Columns of the features."""
ASKED, SCORED = "asked", "scored"
"""Columns of a batch: the positions [K] whose logits are computed, neighbours up to the last but one; the positions
[B, N] of the tokens that are scored, -1 where a continuation has fewer."""

logger = logging.getLogger(__name__)


class Continuations:
    """Turns prompts and what follows them into token ids.

    A prompt has the same ids whatever follows it, so that candidates are compared on the same condition. Too long
    a prompt loses its beginning; only what does not fit even alone is cut itself, and counted.

    Attributes:
        start: The special tokens before every text.
        most: Tokens of a continuation at most.
        num_cut: Continuations that were cut so far.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int, reserved: int | None = None) -> None:
        """Take texts of `max_length` tokens in all; `reserved` ones are kept free of the prompt, whatever follows."""
        self.tokenizer, self.max_length, self.num_cut = tokenizer, max_length, 0
        self.start, self._reserved = leading_tokens(tokenizer), reserved
        self.most = max_length - max(1, len(self.start)) if reserved is None else reserved
        self._begins_with_space = _begins_with_space(tokenizer)

    def encode(self, prompts: Sequence[str], following: Sequence[Sequence[str]]) -> list[tuple[list[int], list[int]]]:
        """Return the ids of the prompt and of what follows, for each of several texts that follow each prompt."""
        known = self._conditions(prompts)
        pairs = [(prompt, text.strip()) for prompt, texts in zip(prompts, following, strict=True) for text in texts]
        whole_ids = self._ids([_joined(prompt) + text for prompt, text in pairs])
        found = []
        for (prompt, text), whole in zip(pairs, whole_ids, strict=True):
            condition, gap = known[prompt]
            # Where letters are merged across the boundary, the prompt would have other ids with this text alone.
            after = whole[len(condition) :] if _begins(whole, condition) else self._alone(gap + text)
            if not after:
                raise ValueError(f"the tokenizer of this model makes no token of {text!r}; an answer needs one")
            found.append((condition, after))
        return found

    def prompts(self, prompts: Sequence[str]) -> list[list[int]]:
        """Return the ids of prompts that nothing follows yet, beginning as all texts do."""
        known = self._conditions(prompts)
        return [self._context(known[prompt][0], 0) for prompt in prompts]

    def feature(self, prompt: list[int], following: list[int]) -> dict[str, Any]:
        """Return the feature of a prompt and what follows it, `max_length` tokens at most."""
        kept = following[: self.most]
        self.num_cut += len(kept) < len(following)
        context = self._context(prompt, len(kept))
        ids = [*context, *kept]
        return {
            "input_ids": ids,
            "attention_mask": [1] * len(ids),
            FIRST: len(context),
            LENGTH: len(ids),
            NUM_TOKENS: len(kept),
        }

    def columns(self, pairs: Sequence[tuple[list[int], list[int]]]) -> dict[str, list[Any]]:
        """Return the features of prompts and what follows them, by column."""
        features = [self.feature(*pair) for pair in pairs]
        return {name: [feature[name] for feature in features] for name in FEATURE}

    def warn(self, what: str) -> None:
        """Say how many continuations were cut, if any."""
        if self.num_cut:
            logger.warning("%d %s longer than %d tokens and cut", self.num_cut, what, self.most)

    def _conditions(self, prompts: Sequence[str]) -> dict[str, tuple[list[int], str]]:
        """Return the ids of each prompt, and the gap that is still to come.

        Most tokenizers give the gap to the word behind it; with one that gives it to the word before, it is part
        of the prompt.
        """
        bare = [prompt.rstrip(" ") for prompt in prompts]
        without, through = self._ids(bare), self._ids([_joined(prompt) for prompt in prompts])
        conditions = [
            (short, gap_after(text)) if _begins(long, short) else (long, "")
            for text, short, long in zip(bare, without, through, strict=True)
        ]
        return dict(zip(prompts, conditions, strict=True))

    def _context(self, ids: list[int], num_following: int) -> list[int]:
        room = self.max_length - (num_following if self._reserved is None else self._reserved)
        context = [*self.start, *ids[max(0, len(ids) - room + len(self.start)) :]]
        return context or [_boundary(self.tokenizer)]

    def _alone(self, text: str) -> list[int]:
        return self._ids([text.removeprefix(" ") if self._begins_with_space else text])[0]

    def _ids(self, texts: list[str]) -> list[list[int]]:
        encoded = self.tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)
        return list(encoded["input_ids"])


def gap_after(prompt: str) -> str:
    """Return what stands between a prompt and what follows it: a space where there is none yet."""
    return " " if prompt and not prompt[-1].isspace() else ""


def leading_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the special tokens that the tokenizer puts before a text."""
    bare, whole = tokenizer("a", add_special_tokens=False)["input_ids"], tokenizer("a")["input_ids"]
    starts = (start for start in range(len(whole)) if whole[start : start + len(bare)] == bare)
    return list(whole[: next(starts)])


def collator(tokenizer: PreTrainedTokenizerBase, **padding: Any) -> Collate:
    """Return what makes a batch of prompts and what follows them, padded on the right, with `ASKED` and `SCORED`."""
    pad = DataCollatorWithPadding(tokenizer, **padding)

    def collate(features: list[dict[str, Any]]) -> Batch:
        batch: Batch = dict(pad([{name: f[name] for name in f if name != FIRST} for f in features]))
        scored = [torch.arange(feature[FIRST], len(feature["input_ids"])) for feature in features]
        first = min(feature[FIRST] for feature in features)
        return batch | {
            ASKED: torch.arange(first - 1, batch["input_ids"].shape[1] - 1),
            SCORED: pad_sequence(scored, batch_first=True, padding_value=-1),
        }

    return collate


def log_probs(model: nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the log-probability of each scored token [B, N] in fp32, 0 where there is none, and where there is one.

    Of the prompts no logits are computed, as far as they are equally long, and in fp32 there are those of one row.
    """
    ids_BT, scored_BN, asked_K = batch["input_ids"], batch[SCORED], batch[ASKED]
    logits_BKV = model(input_ids=ids_BT, attention_mask=batch["attention_mask"], logits_to_keep=asked_K).logits
    is_one_BN = scored_BN >= 0
    tokens_BN = ids_BT.gather(1, scored_BN.clamp(min=0))
    places_BN = (scored_BN - 1 - asked_K[0]).clamp(min=0)
    rows = zip(logits_BKV, places_BN, tokens_BN, strict=True)
    nll_BN = torch.stack(
        [F.cross_entropy(row_KV[at_N].float(), own_N, reduction="none") for row_KV, at_N, own_N in rows]
    )
    return torch.where(is_one_BN, -nll_BN, 0.0), is_one_BN


def mean_loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Return minus the mean log-probability of the continuations' tokens, a scalar."""
    log_probs_BN, is_one_BN = log_probs(model, batch)
    return -log_probs_BN.sum() / is_one_BN.sum()


def num_scored(batch: Batch) -> torch.Tensor:
    """Return the number of the continuations' tokens, a scalar on the device."""
    return (batch[SCORED] >= 0).sum()


def _joined(prompt: str) -> str:
    """Return the prompt and the gap behind it."""
    bare = prompt.rstrip(" ")
    return bare + gap_after(bare)


def _begins(whole: list[int], ids: list[int]) -> bool:
    return whole[: len(ids)] == ids


def _begins_with_space(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether the tokenizer puts a space before every text, as those of Llama do."""
    ids = tokenizer("a", add_special_tokens=False)["input_ids"]
    return str(tokenizer.convert_ids_to_tokens(ids[0])).startswith("▁")


def _boundary(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return a token for the first one of a text to follow, where the tokenizer puts none and there is no prompt."""
    known = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    return next(token for token in known if token is not None)
