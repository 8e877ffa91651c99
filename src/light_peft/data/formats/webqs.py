"""WebQuestions: a question and its accepted answers, officially as a LISP list, on the hub as a list of texts."""

import re
from collections.abc import Iterator

from light_peft.data.formats.entry import Entry, Format, Row, distinct

BEGIN, END = re.compile(r"\s*\(list\b\s*"), re.compile(r"\)\s*")
ITEM = re.compile(
    r"""\(description\s+(?:"(?P<quoted>(?:[^\\]|\\.)*?)"|(?P<bare>[^\s()"][^\s()]*))\s*\)\s*(?=\(description\s|\)\s*$)""",
    re.DOTALL,
)
"""An answer. The official files leave quotes within a quoted text as they are, so that only one before the bracket
that ends the answer ends the text."""
ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def _rows(entry: Entry) -> Iterator[Row]:
    """Yield question and answers; without answers if there are none."""
    if "utterance" not in entry:
        answers = {"answers": distinct(entry.texts("answers"))} if "answers" in entry else {}
        yield {"question": entry.text("question")} | answers
        return
    row: Row = {"question": entry.text("utterance")}
    yield row | ({"answers": distinct(_answers(entry))} if "targetValue" in entry else {})


def _answers(entry: Entry) -> Iterator[str]:
    """Yield the texts of `(list (description TEXT) ...)`, where a text with blanks or brackets is quoted."""
    value = entry.text("targetValue")
    begin = BEGIN.match(value)
    position = begin.end() if begin else len(value)
    while (item := ITEM.match(value, position)) is not None:
        yield ESCAPED.sub(r"\1", item["quoted"]) if item["bare"] is None else item["bare"]
        position = item.end()
    if not END.fullmatch(value, position):
        entry.refuse("targetValue", 'of the form (list (description "...") ...)')


FORMAT = Format(_rows)
