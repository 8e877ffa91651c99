"""WSC: does a pronoun refer to a noun phrase of the same text?

The text shows the noun phrase between asterisks and the pronoun between hashes; a second text says what is to be
judged: `"He" refers to "Mark".` (marks as in Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a
Unified Text-to-Text Transformer"). Weakness: with 554 examples encoders of ordinary size seldom leave the majority
class, 63.5 % of the validation split.

Places are numbers of words between blanks. In the official files some are a word or two off, words carry their
punctuation, and three noun phrases of the test split join words that stand apart ("Kamenev and Zinoviev").
"""

import re
from collections.abc import Iterator

from light_peft.data.formats.entry import Entry, Format, Row

NOUN_MARK, PRONOUN_MARK = "*", "#"
REACH = 2
"""Words by which the place of a span may be wrong."""
PUNCTUATION, QUOTES = '.,;:!?"\u201c\u201d()[]', "'`\u2018\u2019"
POSSESSIVE = re.compile("['\u2019]s?$")


def _rows(entry: Entry) -> Iterator[Row]:
    """Yield the marked text, the statement about it, idx and label; spans lie in `target`, the hub has them flat."""
    spans = entry.inner("target") if "target" in entry else entry
    words = entry.text("text").split()
    noun, pronoun = _find(words, spans, "span1"), _find(words, spans, "span2")
    statement = f'"{spans.text("span2_text")}" refers to "{spans.text("span1_text")}".'
    marks = [(noun, NOUN_MARK), (pronoun, PRONOUN_MARK)]
    yield {"text": _marked(words, marks), "statement": statement} | entry.copied("idx", "label")


def _find(words: list[str], spans: Entry, name: str) -> range:
    """Return the numbers of the span's words; none if they all occur but stand apart.

    Raises:
        ValueError: the span is not in the text near its place.
    """
    index = spans.integer(f"{name}_index")
    wanted = [_bare(word) for word in spans.text(f"{name}_text").split()]
    known = [_bare(word) for word in words]
    for distance in sorted(range(-REACH, REACH + 1), key=abs):
        start = index + distance
        if wanted and start >= 0 and known[start : start + len(wanted)] == wanted:
            return range(start, start + len(wanted))
    if len(wanted) > 1 and 0 <= index < len(words) and set(wanted) <= set(known):
        return range(0)
    found = " ".join(words[max(index, 0) : max(index, 0) + max(len(wanted), 1)])
    return spans.refuse(f"{name}_text", f"in the text at word {index} ({name}_index), but {found!r} is there")


def _bare(word: str) -> str:
    """Return the word without case, punctuation at its ends and possessive s."""
    return POSSESSIVE.sub("", word.strip(PUNCTUATION).casefold()).strip(QUOTES)


def _marked(words: list[str], marks: list[tuple[range, str]]) -> str:
    """Return the words as a text, with a mark on both sides of each span; one may lie within the other."""
    longest_first = sorted(marks, key=lambda pair: -len(pair[0]))
    pieces: list[str] = []
    for number, word in enumerate(words):
        pieces += [mark for span, mark in longest_first if span and span.start == number]
        pieces.append(word)
        pieces += [mark for span, mark in reversed(longest_first) if span and span.stop - 1 == number]
    return " ".join(pieces)


FORMAT = Format(_rows)
