"""SciQ: a science question with one right answer and three wrong ones."""

import hashlib
from collections.abc import Iterator

from light_peft.data.formats.entry import Entry, Format, Row

DISTRACTORS = ("distractor1", "distractor2", "distractor3")


def _rows(entry: Entry) -> Iterator[Row]:
    """Yield question, support, choices and the right one's number, which a hash of the question gives.

    The files name the right answer apart from the others, so its place among them must tell nothing and be the same
    everywhere.
    """
    question, right = entry.text("question"), entry.text("correct_answer")
    choices = [entry.text(key) for key in DISTRACTORS]
    label = hashlib.sha256(question.encode()).digest()[0] % (len(DISTRACTORS) + 1)
    choices.insert(label, right)
    yield {"question": question, "support": entry.text("support").strip(), "choices": choices, "label": label}


FORMAT = Format(_rows)
