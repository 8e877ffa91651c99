"""Windows: the same as the tokenizer's own where it has them, complete, and answers found in them."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from light_peft.tasks.windows import Cutter, Window, frame_of, tokens_of
from span_cases import CORPUS, TOKENIZERS, decoder_tokenizer, encoder_tokenizer

tokenizers = pytest.mark.parametrize("kind", list(TOKENIZERS))
words = st.sampled_from(CORPUS.split())
texts = st.lists(words, max_size=40).map(" ".join) | st.text(max_size=30)
ENCODER = encoder_tokenizer()
BYTES = decoder_tokenizer(bos=False)


def windows_of(cutter: Cutter, question: str, context: str) -> list[Window]:
    ((asked, text),) = cutter.tokens([question], [context])
    return list(cutter.windows(asked, text))


@given(st.lists(words, max_size=5).map(" ".join), texts, st.integers(17, 40), st.integers(0, 7))
def test_the_windows_of_an_encoder_are_its_tokenizers_own(
    question: str, context: str, max_length: int, stride: int
) -> None:
    cutter = Cutter(ENCODER, max_length=max_length, stride=stride)
    if len(ENCODER.tokenize(question)) > cutter.longest_question:
        return
    windows = windows_of(cutter, question, context)
    expected = ENCODER(
        [question],
        [context],
        truncation="only_second",
        max_length=max_length,
        stride=stride,
        return_overflowing_tokens=True,
    )
    assert [window.ids for window in windows] == expected["input_ids"]
    assert [window.types for window in windows] == expected["token_type_ids"]


@given(st.sampled_from(sorted(TOKENIZERS)), texts, texts, st.integers(12, 40), st.integers(0, 4))
def test_every_token_is_read_in_windows_that_overlap_by_the_stride(
    kind: str, question: str, context: str, max_length: int, stride: int
) -> None:
    cutter = Cutter(CACHED[kind], max_length=max_length, stride=stride)
    windows = windows_of(cutter, question, context)
    (text,) = tokens_of([context], CACHED[kind])
    assert windows[0].low == 0
    assert windows[-1].high == len(text)
    for before, after in itertools.pairwise(windows):
        assert before.high - after.low == stride
        assert len(before.ids) == max_length
    for window in windows:
        assert len(window.ids) == len(window.types) <= max_length
        assert window.ids[window.place : window.place + window.high - window.low] == text.ids[window.low : window.high]


CACHED: dict[str, PreTrainedTokenizerFast] = {kind: make() for kind, make in TOKENIZERS.items()}


def test_a_decoder_reads_a_prompt_that_ends_in_the_token_for_no_answer() -> None:
    for bos in (False, True):
        tokenizer = decoder_tokenizer(bos=bos)
        (window,) = windows_of(Cutter(tokenizer, max_length=60, stride=4), "who was he?", "William")
        assert tokenizer.decode(window.ids) == f"{'<s>' * bos}who was he?\nWilliam</s>"
        assert window.ids[window.null] == tokenizer.eos_token_id
        assert window.null == len(window.ids) - 1


def test_an_encoder_has_no_answer_at_its_first_token() -> None:
    (window,) = windows_of(Cutter(ENCODER, max_length=60, stride=4), "who was he?", "William")
    assert ENCODER.convert_ids_to_tokens(window.ids) == ["<s>", "who", "was", "he", "?", "</s>", "William", "</s>"]
    assert window.types == [0, 0, 0, 0, 0, 0, 1, 1]
    assert (window.null, window.place) == (0, 6)


@tokenizers
def test_every_substring_is_found_and_comes_back(kind: str) -> None:
    """The tokens that hold a span hold all its characters, and no fewer would."""
    (text,) = tokens_of([CORPUS], CACHED[kind])
    for begin in range(0, len(CORPUS)):
        for end in (begin + 1, begin + 7, len(CORPUS)):
            visible = [i for i in range(begin, min(end, len(CORPUS))) if not CORPUS[i].isspace()]
            if not visible:
                continue
            found = text.span(visible[0], visible[-1] + 1)
            assert found is not None
            first, last = found
            assert text.begins[first] <= visible[0] < text.ends[first]
            assert text.begins[last] <= visible[-1] < text.ends[last]


def test_a_character_of_several_tokens_belongs_to_the_span_as_a_whole() -> None:
    (text,) = tokens_of(["a \U0001f6f8 b"], BYTES)
    assert text.begins.count(2) > 1 or text.begins.count(1) > 1, "the emoji must be several tokens"
    first, last = text.span(2, 3) or (-1, -1)
    assert BYTES.decode(text.ids[first : last + 1]).strip() == "\U0001f6f8"


def test_what_the_tokenizer_drops_is_no_span() -> None:
    (text,) = tokens_of(["cultural   impact"], ENCODER)
    assert text.span(9, 11) is None
    assert text.span(9, 12) == (1, 1)


def test_a_window_finds_what_it_holds_whole() -> None:
    window = Window(ids=[0] * 9, types=[0] * 9, place=4, low=10, high=14, null=0)
    assert window.find((10, 10)) == (4, 4)
    assert window.find((11, 13)) == (5, 7)
    for outside in ((9, 11), (13, 14), (2, 3), (20, 21), None):
        assert window.find(outside) == (0, 0)


def test_a_question_is_cut_only_where_it_leaves_a_long_text_no_room() -> None:
    question = " ".join(["England"] * 50)
    cutter = Cutter(ENCODER, max_length=60, stride=10)
    assert cutter.longest_question == (60 - 3 - 10) * 3 // 4
    (short,) = windows_of(cutter, question, "William of England")
    assert len(short.ids) == 3 + 50 + 3
    long = windows_of(cutter, question, " ".join(["Duke"] * 30))
    assert [window.place for window in long] == [2 + cutter.longest_question] * len(long)
    assert all(len(window.ids) <= 60 for window in long)


def test_a_text_that_questions_share_is_tokenised_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    plain = PreTrainedTokenizerFast.__call__

    def watched(self: PreTrainedTokenizerFast, given: list[str], *rest: object, **words: object) -> object:
        seen.extend(given if isinstance(given, list) else [])
        return plain(self, given, *rest, **words)

    cutter = Cutter(ENCODER, max_length=30, stride=4)
    monkeypatch.setattr(PreTrainedTokenizerFast, "__call__", watched)
    pairs = list(cutter.tokens(["who", "was", "he"], ["Duke of Normandy", "England", "Duke of Normandy"]))
    assert seen == ["who", "was", "he", "Duke of Normandy", "England"]
    assert [ENCODER.decode(text.ids) for _, text in pairs] == ["Duke of Normandy", "England", "Duke of Normandy"]


def test_what_leaves_no_room_is_refused() -> None:
    with pytest.raises(ValueError, match=r"data.max_length=20: task.span.stride=14 and 3 marks leave 3 tokens"):
        Cutter(ENCODER, max_length=20, stride=14)
    with pytest.raises(ValueError, match=r"task.span.stride=-1: must be at least 0"):
        Cutter(ENCODER, max_length=20, stride=-1)
    Cutter(ENCODER, max_length=20, stride=13)


def test_a_tokenizer_that_cannot_do_it_is_refused() -> None:
    class Slow(PreTrainedTokenizerFast):
        is_fast = False  # type: ignore[assignment]

    with pytest.raises(ValueError, match=r"Slow does not say which characters its tokens stand for"):
        frame_of(Slow(tokenizer_object=encoder_tokenizer().backend_tokenizer))
    endless = PreTrainedTokenizerFast(tokenizer_object=BYTES.backend_tokenizer)
    with pytest.raises(ValueError, match=r"neither closes a pair of texts nor has an eos token"):
        frame_of(endless)
