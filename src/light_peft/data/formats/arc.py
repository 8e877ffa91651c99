"""ARC and OpenBookQA: a question with three to five candidates, named A to E or 1 to 5."""

from collections.abc import Iterator

from light_peft.data.formats.entry import Entry, Format, Row

HIDDEN = -1
"""Label of a question whose answer is not published."""


def _rows(entry: Entry) -> Iterator[Row]:
    """Yield id, question, choices and the right one's number; the question is an object, or on the hub a text."""
    if isinstance(entry.values.get("question"), dict):
        asked = entry.inner("question")
        question, candidates = asked.text("stem"), asked.inners("choices")
    else:
        question = entry.text("question_stem" if "question_stem" in entry else "question")
        candidates = entry.inners("choices")
    names = [candidate.text("label") for candidate in candidates]
    row: Row = {"id": entry.text("id"), "question": question, "label": _label(entry, names)}
    yield row | {"choices": [candidate.text("text") for candidate in candidates], "keys": names}


def _label(entry: Entry, names: list[str]) -> int:
    if not entry.values.get("answerKey"):
        return HIDDEN
    key = entry.text("answerKey")
    if names.count(key) != 1:
        entry.refuse("answerKey", f"one of the candidates' labels, which are: {', '.join(names)}")
    return names.index(key)


FORMAT = Format(_rows)
