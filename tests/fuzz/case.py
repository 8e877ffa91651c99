"""One bad input: how it is laid out, what it is given to, and what must be true afterwards."""

import hashlib
import re
import resource
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import light_peft
from command_line import FAST, Outcome, command
from fuzz.stock import Stock
from light_peft.artifacts import RECORD, RunRecord

Lay = Callable[[Path, Stock], list[str]]
"""Writes the input into a folder; returns the words of the command line, paths relative to that folder."""
CODE_NAMES = re.compile(r"\b[A-Z]\w*(Error|Exception)\b|<class |<built-in|object at 0x|Traceback|site-packages")
"""What belongs to a library's inside, not to a message."""
LONGEST = 3000
"""Characters of a message at most."""
HANGING = 300
"""Seconds after which a command is taken to wait for ever."""
OF_SWEEP = re.compile(r"outputs/multirun/[^/]+/(multirun\.yaml|sweep\.json|sweep\.lock|failed/\w+\.json)$")
"""What Hydra writes of a sweep before its first job, and we of what was asked for and has failed."""
MEMORY = 6 * 2**30
"""Bytes that a command may take beyond what the process has: a size from a file shall not be believed."""


@dataclass(frozen=True)
class Case:
    """A bad input; two are the same if kind and `what` are."""

    kind: str
    what: str
    """The input, whole and exact."""
    lay: Lay
    names: str
    """Pattern of what the message must name: the key, the file."""
    may_pass: bool = False
    """Whether it may also be taken as it is: what chance changed need not matter."""
    load: bool = False
    """Whether the first word is a run folder for `light_peft.load` instead of words for the command line."""


@dataclass(frozen=True)
class Verdict:
    """What came of a case."""

    message: str | None
    """What it was refused with; None if it was taken."""
    offence: str | None
    """What is wrong with how it was dealt with."""


class Hangs(BaseException):
    """A command that does not end; no handler of errors takes it for one."""


def judge(case: Case, stock: Stock, folder: Path) -> Verdict:
    """Give the input to the program, in the empty `folder`, and look at all that is left behind."""
    inside, temporary = folder / "in", folder / "tmp"
    inside.mkdir(parents=True)
    temporary.mkdir()
    words = case.lay(inside, stock)
    before = snapshot(inside)
    with _guarded(temporary):
        try:
            outcome = _load(inside, words[0]) if case.load else command(inside, *_before(words), *words)
        except BaseException as error:  # whatever it is, it is what the case has shown
            return Verdict(None, f"{type(error).__name__} comes through: {error}"[:LONGEST])
    if outcome.code == 0 and case.may_pass:
        return Verdict(None, next(_leftovers(inside, temporary, before), None))
    said = outcome.output.count("error: ")
    message = outcome.output.rpartition("error: ")[2].strip()
    faults = [*_faults(case, outcome, said, message), *_leftovers(inside, temporary, before)]
    faults += _records(inside, before, message) if outcome.code == 2 else []
    return Verdict(message, "; ".join(faults) or None)


def _before(words: list[str]) -> tuple[str, ...]:
    """Return what makes a run short; one that is scored again takes no group."""
    return () if any(word.startswith("evaluate=") for word in words) else FAST


def _load(folder: Path, name: str) -> Outcome:
    try:
        light_peft.load(folder / name)
    except ValueError as error:
        return Outcome(2, f"error: {error}", folder)
    return Outcome(0, "", folder)


def _faults(case: Case, outcome: Outcome, said: int, message: str) -> Iterator[str]:
    if outcome.code != 2:
        yield f"exit code {outcome.code}, not 2: {outcome.output[-300:]}"
    elif said != 1:
        yield f"{said} messages, not 1: {outcome.output[-LONGEST:]}"
    elif not message or len(message) > LONGEST:
        yield f"a message of {len(message)} characters"
    elif not re.search(case.names, message):
        yield f"the message does not name {case.names!r}: {message}"
    if inner := CODE_NAMES.search(outcome.output):
        yield f"the message shows {inner[0]!r}: {message}"


def _leftovers(folder: Path, temporary: Path, before: dict[str, str]) -> Iterator[str]:
    """Yield what is there and should not be, and what was changed."""
    after = snapshot(folder)
    if changed := sorted(name for name, was in before.items() if after.get(name) != was):
        yield f"changed or removed: {changed}"
    runs = [path.parent.relative_to(folder).as_posix() for path in folder.rglob(RECORD)]
    new = [name for name, what in after.items() if name not in before and what != "folder"]
    if stray := [
        name for name in new if not any(name.startswith(f"{run}/") for run in runs) and not OF_SWEEP.match(name)
    ]:
        yield f"left behind outside any run: {stray}"
    if half := [name for name in new if name.endswith(".part") or Path(name).name.startswith(".") or ".part/" in name]:
        yield f"half-written: {half}"
    if left := sorted(path.name for path in temporary.iterdir()):
        yield f"temporary files: {left}"


def _records(folder: Path, before: dict[str, str], message: str) -> Iterator[str]:
    """Yield what the records of runs that had begun get wrong."""
    for path in folder.rglob(RECORD):
        if path.relative_to(folder).as_posix() not in before:
            record = RunRecord.read(path.parent)
            if record.status != "failed" or message not in str(record.error):
                yield f"the record says {record.status}: {record.error!r}, the message {message!r}"


def snapshot(folder: Path) -> dict[str, str]:
    """Return what there is below a folder: name -> content's hash, target of a link, or kind."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = f"link to {path.readlink()}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = "folder" if path.is_dir() else "neither file nor folder"
    return found


@contextmanager
def _guarded(temporary: Path) -> Iterator[None]:
    """Send temporary files to `temporary`; neither wait for ever nor take all of the memory."""

    def stop(number: int, frame: object) -> None:
        raise Hangs(f"it did not end within {HANGING} seconds")

    used = int(re.findall(r"VmSize:\s+(\d+)", Path("/proc/self/status").read_text())[0]) * 1024
    limits, default = resource.getrlimit(resource.RLIMIT_AS), tempfile.tempdir
    handler = signal.signal(signal.SIGALRM, stop)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, limits[1]))
    signal.alarm(HANGING)
    tempfile.tempdir = str(temporary)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, limits)
        tempfile.tempdir = default
