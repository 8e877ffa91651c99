"""WebQuestions: a question and its accepted answers, officially as a LISP list, on the hub as a list of texts."""

import re
from collections.abc import Iterator

from light_peft.data.formats.entry import Entry, Format, Row, distinct

TOKEN = re.compile(r'\s*(?:(?P<mark>[()])|"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s()"]+))', re.DOTALL)
ESCAPE = re.compile(r"\\(.)", re.DOTALL)
LIST, DESCRIPTION = "list", "description"


def _rows(entry: Entry) -> Iterator[Row]:
    """Yield question and answers; without answers if there are none."""
    if "utterance" not in entry:
        answers = {"answers": distinct(entry.texts("answers"))} if "answers" in entry else {}
        yield {"question": entry.text("question")} | answers
        return
    row: Row = {"question": entry.text("utterance")}
    yield row | ({"answers": _answers(entry)} if "targetValue" in entry else {})


def _answers(entry: Entry) -> list[str]:
    """Return the texts of `(list (description TEXT) ...)`, where a text with blanks or brackets is quoted."""
    tokens = _tokens(entry.text("targetValue"))
    opening = [("mark", "("), ("bare", LIST)]
    pairs = tokens[2:-1]
    groups = [pairs[start : start + 4] for start in range(0, len(pairs), 4)]
    if tokens[:2] != opening or tokens[-1:] != [("mark", ")")] or not all(map(_is_description, groups)):
        entry.refuse("targetValue", f'of the form ({LIST} ({DESCRIPTION} "...") ...)')
    return distinct(group[2][1] for group in groups)


def _is_description(group: list[tuple[str, str]]) -> bool:
    """Return whether the tokens are `(description TEXT)`."""
    if len(group) != 4:
        return False
    start, head, text, end = group
    return (start, head, end) == (("mark", "("), ("bare", DESCRIPTION), ("mark", ")")) and text[0] != "mark"


def _tokens(text: str) -> list[tuple[str, str]]:
    """Return kind and text of the tokens, quoted ones without their escapes; what is no token ends them."""
    tokens, position = [], 0
    while (match := TOKEN.match(text, position)) is not None:
        kind = str(match.lastgroup)
        tokens.append((kind, ESCAPE.sub(r"\1", match[kind]) if kind == "quoted" else match[kind]))
        position = match.end()
    return tokens if not text[position:].strip() else [*tokens, ("mark", text[position:])]


FORMAT = Format(_rows)
