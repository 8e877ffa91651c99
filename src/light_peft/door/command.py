"""The whole command: what only all of its words show, and its exit code."""

from collections.abc import Callable

from rich.console import Console

from light_peft import launchers
from light_peft.door.choices import options_first, options_of, with_model_folders
from light_peft.door.saying import FAILURES, USER_ERRORS, JobFailed, say
from light_peft.door.sweeping import COMMAND, Refused, with_its_end
from light_peft.interrupts import Interrupted
from light_peft.words import hold_words


def prepared(words: list[str]) -> list[str]:
    """Return the words of the command line as Hydra takes them; how they were typed is kept for sweeps."""
    COMMAND[:] = words
    return options_first(with_model_folders(words))


def check_words(words: list[str]) -> None:
    """Look at what only the whole command line shows.

    Raises:
        ValueError: If a word would do nothing, or it asks for a sweep in each process of a group, where every job
            would wait for the others'.
    """
    hold_words(words, options_of)
    launchers.join_slurm_step()
    is_sweep = any(word in ("-m", "--multirun") or word.endswith("hydra.mode=MULTIRUN") for word in words)
    if is_sweep and (size := launchers.group_size()) > 1:
        raise ValueError(
            f"-m: a sweep within the {size} processes of a launcher; leave the launcher away and say "
            f"runtime.processes={size}, which starts that many for each job"
        )


def guarded(command: Callable[[], object]) -> int:
    """Call `command`, and bring the sweep that it is to its end; return the exit code."""
    try:
        with with_its_end():
            command()
    except JobFailed as failed:
        return failed.code
    except Refused as refused:
        if not isinstance(refused.__cause__, USER_ERRORS):
            raise
        say(refused.__cause__)
        return 2
    except USER_ERRORS as error:
        say(error)
        return 2
    except OSError as error:  # the folder of a sweep, which Hydra makes
        if error.filename is None:
            raise
        say(ValueError(f"{error.filename}: {error.strerror}"))
        return 2
    except (Interrupted, KeyboardInterrupt) as interrupted:
        console = Console(stderr=True, quiet=not launchers.speaks())
        console.print("; ".join(["interrupted", *getattr(interrupted, "__notes__", [])]), soft_wrap=True)
        return interrupted.exit_code if isinstance(interrupted, Interrupted) else 130
    return next(iter(FAILURES), 0)
