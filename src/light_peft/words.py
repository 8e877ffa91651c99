"""The words of the command line that Hydra takes without doing anything, or refuses in its own terms."""

import fnmatch
import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import get_origin, get_type_hints

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob
from hydra.errors import HydraException, OverrideParseException

from light_peft.config import Config

CARET = re.compile(r"^( *)\^$", re.MULTILINE)
LEXER = "LexerNoViableAltException: "
RAISED = re.compile(r"\w+(?:Error|Exception) (?=raised while|while evaluating)")
"""How Hydra begins a message that it has from an error inside: with the name of its class."""


def hold_words(words: list[str], options: Callable[[str], list[str]]) -> None:
    """Hold the words against what Hydra would take in silence, or stumble over without a word on where.

    Args:
        words: The command line.
        options: Gives the options of a group, none for what is no group.

    Raises:
        ValueError: If a glob matches no option, which makes a sweep without a job, or a key lies in a list.
    """
    for word in words:
        key, is_value, value = word.lstrip("+~").partition("=")
        if inner := [name for name in _lists(Config) if key.startswith(f"{name}.")]:
            raise ValueError(f"{key}: {inner[0]} is a list, give the whole of it: {inner[0]}=[...]")
        if is_value and value.startswith("glob("):
            _check_glob(word, options(key))


def _check_glob(word: str, known: list[str]) -> None:
    try:
        chosen = OverridesParser.create().parse_override(word).value()
    except HydraException:
        return  # Hydra says it again, and we explain it
    if not known:
        raise ValueError(f"{word}: a glob chooses among the options of a group, such as task=glob(*)")
    if isinstance(chosen, Glob) and not any(
        fnmatch.fnmatchcase(name, form) for name in known for form in chosen.include
    ):
        raise ValueError(f"{word}: matches none of {', '.join(known)}")


def _lists(schema: type, prefix: str = "") -> list[str]:
    """Return the keys that hold lists."""
    found, hints = [], get_type_hints(schema)
    for name in (entry.name for entry in fields(schema)):
        if is_dataclass(hints[name]):
            found += _lists(hints[name], f"{prefix}{name}.")
        elif get_origin(hints[name]) is list:
            found.append(prefix + name)
    return found


def explain_word(error: OverrideParseException) -> str:
    """Return what is wrong with a word that cannot be read, and how it would be written."""
    word, text = shortened(error.override), str(error)
    problem = " ".join(line for line in text.splitlines()[1:] if not line.startswith("See http"))
    if text.startswith(LEXER) and (caret := CARET.search(text)) is not None:
        place = len(caret[1]) - len(LEXER)
        problem = f"{error.override[place : place + 1]!r} may not stand there bare"
    if "=" not in error.override and not error.override.startswith("~"):
        return f"{word!r} cannot be read: it is no key=value"
    advice = "a text with marks, blanks or letters beyond a to z stands in quotes: 'key=\"a text\"'"
    return f"{word!r} cannot be read: {without_classes(shortened(problem))}; {advice}"


def without_classes(text: str) -> str:
    """Return a message of Hydra without the names of its classes."""
    return RAISED.sub("", text)


def shortened(text: str, most: int = 200) -> str:
    """Return the beginning of a text that is too long to be shown."""
    return text if len(text) <= most else f"{text[: most - 3]}..."
