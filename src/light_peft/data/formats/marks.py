"""Marks that show a model which words of a text are meant."""


def marked(text: str, mark: str, start: int, end: int) -> str:
    """Return the text with `mark` on both sides of its characters `start` to `end`, set off by spaces.

    The spaces leave the words themselves as a tokenizer knows them.
    """
    return f"{text[:start]}{mark} {text[start:end]} {mark}{text[end:]}"
