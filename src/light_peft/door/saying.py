"""What went wrong, in one message for the user."""

import difflib
import re
from dataclasses import fields, is_dataclass

from hydra.errors import HydraException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.markup import escape

from light_peft import launchers
from light_peft.config import Config
from light_peft.door.choices import options_of
from light_peft.words import explain_word, without_classes

FAILURES: list[int] = []
"""Exit codes of what went wrong in this process, and has been said."""
USER_ERRORS = (ValueError, HydraException, OmegaConfBaseException)
UNKNOWN_KEY = re.compile(r"Could not override '([^']+)'")
UNKNOWN_OPTION = re.compile(r"Could not find '([^'/]+)/([^']+)'")


class JobFailed(Exception):  # noqa: N818 (what happened, like Interrupted)
    """A job of a sweep has failed and has said why; its launcher takes this to the process of the sweep."""

    def __init__(self, code: int) -> None:
        """Note the exit code."""
        super().__init__(code)
        self.code = code


def code_of(error: Exception) -> int:
    """Return the exit code: what is not the user's mistake, such as a process that died, is 1."""
    return 2 if isinstance(error, USER_ERRORS) else 1


def say(error: Exception) -> str:
    """Print what went wrong as one message on stderr, and return it; in a group one process of each machine does."""
    message = explain(error)
    print_error(message)
    return message


def print_error(message: str) -> None:
    """Print a message on stderr as that of an error."""
    console, rank = Console(stderr=True, quiet=not launchers.speaks()), launchers.rank()
    where = f" (process {rank + 1} of {launchers.group_size()})" if rank else ""
    console.print(f"[bold red]error{where}:[/] {escape(message)}", highlight=False, soft_wrap=True)


def explain(error: Exception) -> str:
    """Return the message for the user, with near choices where a name is unknown."""
    text = str(error)
    if (match := UNKNOWN_OPTION.search(text)) is not None:
        group, name = match.groups()
        folders = " A folder that holds a config.json is a model, too." if group == "model" else ""
        return (
            f"{group}={name}: unknown. {_near(name, options_of(group), 'All of them: python -m run --help.')}{folders}"
        )
    if (match := UNKNOWN_KEY.search(text)) is not None:
        key = match.group(1)
        alike = [known for known in sorted(_keys(Config)) if known.count(".") == key.count(".")]
        return f"{key}: unknown key. {_near(key, alike, 'All keys: python -m run --cfg job')}"
    if isinstance(error, OverrideParseException):
        return explain_word(error)
    if isinstance(error, HydraException | OmegaConfBaseException):
        cause = f"\n{error.__cause__}" if isinstance(error.__cause__, OmegaConfBaseException) else ""
        lines = without_classes(text + cause).splitlines()
        return "\n".join(line for line in lines if "HYDRA_FULL_ERROR" not in line)
    return text


def _near(name: str, known: list[str], elsewhere: str) -> str:
    """Return the names near to `name`, and all if they are few; else where all are shown."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    listed = f"There are: {', '.join(known)}." if len(known) <= 20 else elsewhere
    return f"Did you mean {' or '.join(close)}? {listed}" if close else listed


def _keys(schema: type, prefix: str = "") -> list[str]:
    keys = []
    for entry in fields(schema):
        inner = entry.default_factory
        keys.append(prefix + entry.name)
        if isinstance(inner, type) and is_dataclass(inner):
            keys += _keys(inner, f"{prefix}{entry.name}.")
    return keys
