"""MultiRC: one row for each candidate answer to each question about a passage."""

from collections.abc import Iterator

from light_peft.data.formats.entry import Entry, Format, Row


def _rows(entry: Entry) -> Iterator[Row]:
    """Yield paragraph, question, answer, the last two as one text, label, `idx` p-q-a and `group` p-q."""
    if isinstance(entry.values.get("passage"), dict):
        yield from _nested(entry)
        return
    idx = entry.inner("idx")
    numbers = [idx.integer(key) for key in ("paragraph", "question", "answer")]
    yield _row(entry, entry.text("paragraph"), entry.text("question"), answer=entry.text("answer"), numbers=numbers)


def _nested(entry: Entry) -> Iterator[Row]:
    """Yield the rows of a passage as it is in the official release."""
    passage = entry.inner("passage")
    paragraph, number = passage.text("text"), entry.integer("idx")
    for question in passage.inners("questions"):
        asked = question.text("question")
        for answer in question.inners("answers"):
            numbers = [number, question.integer("idx"), answer.integer("idx")]
            yield _row(answer, paragraph, asked, answer=answer.text("text"), numbers=numbers)


def _row(labelled: Entry, paragraph: str, question: str, *, answer: str, numbers: list[int]) -> Row:
    texts = {"paragraph": paragraph, "question": question, "answer": answer, "question_answer": f"{question} {answer}"}
    places = {"idx": "-".join(map(str, numbers)), "group": "-".join(map(str, numbers[:2]))}
    return texts | places | labelled.copied("label")


FORMAT = Format(_rows)
