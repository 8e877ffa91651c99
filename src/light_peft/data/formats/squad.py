"""SQuAD: one row for each question about a paragraph; the answer is a piece of it, or in SQuAD 2.0 missing."""

from collections.abc import Iterator

from light_peft.data.formats.entry import Entry, Format, Row


def _rows(entry: Entry) -> Iterator[Row]:
    """Yield id, question, context, `answers` with text and answer_start (code points), and the article's title."""
    if "paragraphs" not in entry:
        yield _row(entry, entry.text("context"), entry.copied("title"))
        return
    title = entry.copied("title")
    for paragraph in entry.inners("paragraphs"):
        context = paragraph.text("context")
        for question in paragraph.inners("qas"):
            yield _row(question, context, title)


def _row(question: Entry, context: str, title: Row) -> Row:
    row: Row = {"id": question.text("id"), **title, "question": question.text("question"), "context": context}
    if question.values.get("is_impossible") is True:
        return row | {"answers": {"text": [], "answer_start": []}}
    if "answers" not in question:
        return row
    answers = question.inners("answers")
    texts = [_checked(answer, context, row["id"]) for answer in answers]
    return row | {"answers": {"text": texts, "answer_start": [answer.integer("answer_start") for answer in answers]}}


def _checked(answer: Entry, context: str, name: str) -> str:
    """Return the text of an answer that stands where it is said to stand."""
    text, start = answer.text("text"), answer.integer("answer_start")
    if not text or start < 0 or not context.startswith(text, start):
        there = context[max(start, 0) : max(start, 0) + max(len(text), 20)]
        answer.refuse(
            "answer_start", f"where {text!r} stands in the context of question {name}, but {there!r} is there"
        )
    return text


FORMAT = Format(_rows, container="data")
