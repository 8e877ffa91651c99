"""ReCoRD: which entity of a news passage is missing from a sentence about it?"""

import re
from collections.abc import Iterator

from light_peft.data.formats.entry import Entry, Format, Row, distinct

PLACEHOLDER = "@placeholder"
HIGHLIGHT = re.compile(r"\s*@highlight\s*")
"""What stands before each of the passage's bullet points."""
SENTENCE_END = tuple(".!?:;\"'\u201d\u2019")


def _rows(entry: Entry) -> Iterator[Row]:
    """Yield passage, query, `names` (the entities), `choices` (the query with each of them), answers and idx.

    Entities and answers are distinct and in alphabetical order, so that both forms of the data set agree.
    """
    if isinstance(entry.values.get("passage"), dict):
        yield from _nested(entry)
        return
    answers = sorted(distinct(entry.texts("answers"))) if "answers" in entry else None
    idx = entry.inner("idx").integer("query")
    yield _row(entry, readable(entry.text("passage")), entry.texts("entities"), answers=answers, idx=idx)


def _nested(entry: Entry) -> Iterator[Row]:
    """Yield one row for each query about a passage of the official release, where entities are character offsets."""
    passage = entry.inner("passage")
    text = passage.text("text")
    names = [_entity(text, span) for span in passage.inners("entities")]
    shown = readable(text)
    for query in entry.inners("qas"):
        answers = None
        if "answers" in query:
            answers = sorted(distinct(answer.text("text") for answer in query.inners("answers")))
        yield _row(query, shown, names, answers=answers, idx=query.integer("idx"))


def _entity(text: str, span: Entry) -> str:
    """Return the text from `start` to `end`, both inclusive."""
    start, end = span.integer("start"), span.integer("end")
    if not 0 <= start <= end < len(text):
        span.refuse("end", f"from start ({start}) to {len(text) - 1}, the last character of the passage")
    return text[start : end + 1]


def _row(entry: Entry, passage: str, entities: list[str], *, answers: list[str] | None, idx: int) -> Row:
    query = entry.text("query")
    if PLACEHOLDER not in query:
        entry.refuse("query", f"a text with {PLACEHOLDER}")
    names = sorted(distinct(entities))
    choices = [query.replace(PLACEHOLDER, name) for name in names]
    row: Row = {"passage": passage, "query": query, "names": names, "choices": choices, "idx": idx}
    return row if answers is None else row | {"answers": answers}


def readable(passage: str) -> str:
    """Return the passage with its bullet points as sentences, each ended by a point if nothing ends it."""
    parts = [part for part in HIGHLIGHT.split(passage.strip()) if part]
    return " ".join(part if part.endswith(SENTENCE_END) else f"{part}." for part in parts)


FORMAT = Format(_rows)
