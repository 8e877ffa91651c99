"""WiC: does a word have the same sense in two sentences?

Both sentences show the word between asterisks, and the first begins with its lemma ("bank: he sat by the * bank *"),
so that a model with one output for the pair knows what it is asked (in the way of Raffel et al. 2020, "Exploring the
Limits of Transfer Learning with a Unified Text-to-Text Transformer"). Weakness: the decision is made from the whole
pair, not from the two words' own vectors as in the benchmark's baseline.
"""

from collections.abc import Iterator

from light_peft.data.formats.entry import Entry, Format, Row

MARK = "*"


def _rows(entry: Entry) -> Iterator[Row]:
    """Yield the marked sentences with what else there is; the official and the hub's objects have the same keys."""
    word = entry.text("word")
    sentences = [_marked(entry, number) for number in ("1", "2")]
    row: Row = {"word": word, "sentence1": f"{word}: {sentences[0]}", "sentence2": sentences[1]}
    yield row | entry.copied("idx", "label")


def _marked(entry: Entry, number: str) -> str:
    sentence = entry.text(f"sentence{number}")
    start, end = entry.integer(f"start{number}"), entry.integer(f"end{number}")
    if not 0 <= start < end <= len(sentence):
        entry.refuse(
            f"end{number}", f"above start{number} ({start}) and at most {len(sentence)}, the sentence's length"
        )
    word = sentence[start:end].strip()
    if not word:
        entry.refuse(f"start{number}", f"the start of a word, but {sentence[start:end]!r} is there")
    start = sentence.index(word, start)  # blanks that the file counts in stay outside the marks
    return f"{sentence[:start]}{MARK} {word} {MARK}{sentence[start + len(word) :]}"


FORMAT = Format(_rows)
