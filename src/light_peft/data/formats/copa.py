"""COPA: which of two sentences is the cause, or the effect, of a premise?

The premise becomes the beginning of a sentence that a candidate ends: "The man turned on the faucet so" | "water
flowed from the spout." (as Roemmele et al. 2011, "Choice of Plausible Alternatives", ask it, with the connective of
Gordon et al. 2012's causal bridges: because for a cause, so for an effect).
"""

from collections.abc import Iterator

from light_peft.data.formats.entry import Entry, Format, Row

CONNECTIVES = {"cause": "because", "effect": "so"}
"""What is asked -> the word between premise and candidate."""


def _rows(entry: Entry) -> Iterator[Row]:
    """Yield `context` (premise and connective), choice1 and choice2 as ends of it, and what else there is."""
    asked = entry.text("question")
    if asked not in CONNECTIVES:
        entry.refuse("question", f"one of: {', '.join(CONNECTIVES)}")
    context = f"{entry.text('premise').strip().rstrip('.')} {CONNECTIVES[asked]}"
    choices = {key: _continued(entry.text(key)) for key in ("choice1", "choice2")}
    yield {"context": context} | choices | entry.copied("premise", "question", "idx", "label")


def _continued(sentence: str) -> str:
    """Return the sentence as it stands within another: its first letter small, unless it is the word I."""
    first = sentence.split(maxsplit=1)[0] if sentence.strip() else ""
    return sentence if first.split("'")[0] == "I" else sentence[:1].lower() + sentence[1:]


FORMAT = Format(_rows)
