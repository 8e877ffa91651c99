"""Windows of a long text behind a question, and where an answer lies in them.

Question and text are tokenised once each, a text that several questions share once for all of them; windows are
slices. Two successive windows of a text share `stride` tokens.

* A tokenizer that closes a pair, as those of encoders do, gives its own pair: `[CLS] question [SEP] text [SEP]`.
* The others, those of decoders, have no mark between the two: the question ends in a line break, and the text in the
  token for the end of a text: `question \\n text </s>`, behind the token that begins a text if the tokenizer puts one.

No answer is a place as well: the tokenizer's [CLS] where that comes first, else the last token, which is the only one
that has read the whole window from left to right.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from transformers import PreTrainedTokenizerBase

from light_peft.data.batches import LENGTH

FIRST, NULL, OFFSETS = "_first", "_null", "_offsets"
"""Notes of a window: the place of the text's first token; that of no answer; the characters [begin, end) of each token
of the text, flat."""
MIN_ROOM = 4
"""Tokens that must be left beside the stride."""

Marks = tuple[tuple[int, int], ...]
"""Token ids and their types."""


@dataclass(frozen=True)
class Frame:
    """What a tokenizer puts around a question and a text.

    Attributes:
        before: Marks before the question.
        between: Marks between question and text.
        after: Marks behind the text.
        types: Type of the question's tokens, and of the text's.
        separator: What ends the question's text.
        null: Place of no answer in a window; -1 is the last one.
    """

    before: Marks
    between: Marks
    after: Marks
    types: tuple[int, int]
    separator: str
    null: int

    @property
    def num_marks(self) -> int:
        """Number of tokens that are neither the question's nor the text's."""
        return len(self.before) + len(self.between) + len(self.after)


@dataclass(frozen=True)
class Tokens:
    """The tokens of a text: their ids, and the characters [begin, end) of each."""

    ids: list[int]
    begins: list[int]
    ends: list[int]

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.ids)

    def span(self, begin: int, end: int) -> tuple[int, int] | None:
        """Return the first and the last token that hold a character of [begin, end); None if there are none."""
        first, last = bisect_right(self.ends, begin), bisect_left(self.begins, end) - 1
        return (first, last) if first <= last else None


def frame_of(tokenizer: PreTrainedTokenizerBase) -> Frame:
    """Return the frame of a tokenizer.

    Raises:
        ValueError: If it cannot say where its tokens stand in the text, or has no token for the end of a text.
    """
    if not tokenizer.is_fast:
        raise ValueError(
            f"model: {type(tokenizer).__name__} does not say which characters its tokens stand for, so that no span "
            "can be found; take a model whose tokenizer has a fast version (tokenizer.json)"
        )
    probe = tokenizer("a", "a", return_token_type_ids=True)
    owners = probe.sequence_ids(0)
    assert {0, 1} <= set(owners), owners
    marks = tuple(zip(probe["input_ids"], probe["token_type_ids"], strict=True))
    question, text = owners.index(0), owners.index(1)
    types = (marks[question][1], marks[text][1])
    before, between = marks[:question], marks[question + owners.count(0) : text]
    if after := marks[text + owners.count(1) :]:
        null = 0 if before and before[0][0] == tokenizer.cls_token_id else -1
        return Frame(before, between, after, types, separator="", null=null)
    if tokenizer.eos_token_id is None:
        name = type(tokenizer).__name__
        raise ValueError(f"model: {name} neither closes a pair of texts nor has an eos token, and a span needs one")
    return Frame(before, (), ((tokenizer.eos_token_id, types[1]),), types, separator="\n", null=-1)


def tokens_of(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[Tokens]:
    """Return the tokens of each text, without marks."""
    found = tokenizer(
        list(texts),
        add_special_tokens=False,
        return_attention_mask=False,
        return_offsets_mapping=True,
        return_token_type_ids=False,
        verbose=False,  # the texts are longer than the model takes
    )
    columns = zip(found["input_ids"], found["offset_mapping"], strict=True)
    return [Tokens(ids, [begin for begin, _ in pairs], [end for _, end in pairs]) for ids, pairs in columns]


@dataclass(frozen=True)
class Window:
    """One window: what a model reads, and which tokens of the text stand in it.

    Attributes:
        ids: Token ids.
        types: Their types.
        place: Place of the first token of the text.
        low: Number of that token in the text.
        high: Number behind the last token of the text that is in the window.
        null: Place of no answer.
    """

    ids: list[int]
    types: list[int]
    place: int
    low: int
    high: int
    null: int

    def find(self, span: tuple[int, int] | None) -> tuple[int, int]:
        """Return the places of the first and the last token of a span of the text; no answer if it is not all here."""
        if span is None or span[0] < self.low or span[1] >= self.high:
            return self.null, self.null
        shift = self.place - self.low
        return span[0] + shift, span[1] + shift

    def inputs(self, *, typed: bool) -> dict[str, Any]:
        """Return what a model reads, with the types of the tokens or without, and its length."""
        inputs = {"input_ids": self.ids, "attention_mask": [1] * len(self.ids), LENGTH: len(self.ids)}
        return inputs | ({"token_type_ids": self.types} if typed else {})

    def notes(self, text: Tokens) -> dict[str, Any]:
        """Return the notes that lead from places to characters of `text`, of which this is a window."""
        pairs = zip(text.begins[self.low : self.high], text.ends[self.low : self.high], strict=True)
        return {FIRST: self.place, NULL: self.null, OFFSETS: list(chain.from_iterable(pairs))}


class Cutter:
    """What cuts a text behind a question into windows."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, max_length: int, stride: int) -> None:
        """Make windows of at most `max_length` tokens.

        Raises:
            ValueError: If the tokenizer cannot be used, or too little is left for question and text.
        """
        self.tokenizer, self.frame = tokenizer, frame_of(tokenizer)
        self.typed = "token_type_ids" in tokenizer.model_input_names
        self.max_length, self.stride = max_length, stride
        if stride < 0:
            raise ValueError(f"task.span.stride={stride}: must be at least 0")
        room = max_length - self.frame.num_marks - stride
        if room < MIN_ROOM:
            raise ValueError(
                f"data.max_length={max_length}: task.span.stride={stride} and {self.frame.num_marks} marks leave {room}"
                f" tokens of it, must be at least {MIN_ROOM} for question and new text; lower task.span.stride"
            )
        self.longest_question = room * 3 // 4

    def tokens(self, questions: Sequence[str], contexts: Sequence[str]) -> Iterator[tuple[list[int], Tokens]]:
        """Yield the token ids of each question and the tokens of its text, which is tokenised once."""
        asked = tokens_of([question + self.frame.separator for question in questions], self.tokenizer)
        distinct = list(dict.fromkeys(contexts))
        read = dict(zip(distinct, tokens_of(distinct, self.tokenizer), strict=True))
        for question, context in zip(asked, contexts, strict=True):
            yield question.ids, read[context]

    def windows(self, question: list[int], text: Tokens) -> Iterator[Window]:
        """Yield the windows of a text; a question that leaves a long text no room is cut at its end."""
        size = self.max_length - self.frame.num_marks - len(question)
        if len(text) > size:
            question = question[: self.longest_question]
            size = self.max_length - self.frame.num_marks - len(question)
        (first, second), frame = self.frame.types, self.frame
        head = (*frame.before, *((token, first) for token in question), *frame.between)
        head_ids, head_types = [token for token, _ in head], [kind for _, kind in head]
        tail_ids, tail_types = [token for token, _ in frame.after], [kind for _, kind in frame.after]
        for low in range(0, max(1, len(text) - self.stride), max(1, size - self.stride)):
            high = min(low + size, len(text))
            ids = [*head_ids, *text.ids[low:high], *tail_ids]
            types = [*head_types, *[second] * (high - low), *tail_types]
            yield Window(ids, types, len(head), low, high, frame.null % len(ids))
