"""Between the command line and the package: composition, messages, exit codes.

Exit codes: 0 finished; 2 something was wrong with what was asked for (one message, no traceback);
1 a defect of ours (with traceback), or a process of the run died; 130 and 143 interrupted by Ctrl-C or SIGTERM.
A sweep ends with the code of its first job that failed, once all have ended.
"""

import difflib
import itertools
import os
import re
import secrets
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.markup import escape

from light_peft import launchers
from light_peft.config import Config, config_from_dict
from light_peft.imports import uncollected
from light_peft.interrupts import Interrupted
from light_peft.supervisor import WorkerDied
from light_peft.words import explain_word, hold_words, without_classes

USER_ERRORS = (ValueError, HydraException, OmegaConfBaseException)
FAILURES: list[int] = []
"""Exit codes of what went wrong in this process, and has been said."""
ESTIMATES = "estimates"
"""Folder of a sweep that holds the estimations which its runs share."""
FAILED_JOBS = "failed"
"""Folder of a sweep that has a file for each job that failed: its message and its words."""

MODEL = "model="
UNKNOWN_KEY = re.compile(r"Could not override '([^']+)'")
UNKNOWN_OPTION = re.compile(r"Could not find '([^'/]+)/([^']+)'")


def register() -> None:
    """Make the schema and the resolvers known to Hydra, and let errors come to us unformatted.

    Threads of torch that wait shall sleep: spinning ones made a run ten times slower as soon as another process
    wanted a core. OpenMP reads this when torch is imported, which is later. Torch's warnings in C++ are about its own
    use, and each process of a group would print them.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    ConfigStore.instance().store(name="schema", node=Config)
    OmegaConf.register_new_resolver("unique", lambda: secrets.token_hex(3), use_cache=True, replace=True)


def options_first(words: list[str]) -> list[str]:
    """Return the command line with its `key=value` words behind its options, each in their order.

    Hydra does not take values on both sides of an option such as `--config-dir=FOLDER`.
    """
    values = [word for word in words if "=" in word and not word.startswith("-")]
    return [word for word in words if word not in values] + values


def with_model_folders(words: list[str]) -> list[str]:
    """Return the command line with each folder in `model=FOLDER` replaced by the name of a choice made of it.

    A folder is one with a config.json; in a sweep's list each is looked at by itself. The choice has the
    folder's name, with a number where that is taken, and its path; what is no folder stays as it is.
    """
    names: dict[str, str] = {}
    return [_without_folders(word, names) if word.startswith(MODEL) else word for word in words]


def _without_folders(word: str, names: dict[str, str]) -> str:
    values = word.removeprefix(MODEL).split(",")
    return MODEL + ",".join(_choice_of(value, names) for value in values)


def _choice_of(value: str, names: dict[str, str]) -> str:
    """Return the name of the choice for `value`; `names` holds those made before, by folder."""
    folder, taken = Path(value).expanduser(), {*options_of("model"), *names.values()}
    if value in options_of("model") or not (folder / "config.json").is_file():
        return value
    if value not in names:
        base = re.sub(r"[^A-Za-z0-9_.-]+", "_", folder.resolve().name)
        numbered = (f"{base}_{number}" for number in itertools.count(2))
        names[value] = next(name for name in itertools.chain([base], numbered) if name not in taken)
        node = {"name": folder.resolve().name, "path": str(folder)}
        ConfigStore.instance().store(group="model", name=names[value], node=node)
    return names[value]


class JobFailed(Exception):  # noqa: N818 (what happened, like Interrupted)
    """A job of a sweep has failed and has said why; its launcher takes this to the process of the sweep."""

    def __init__(self, code: int, sweep_dir: str) -> None:
        """Note the exit code and the folder of the sweep."""
        super().__init__(code, sweep_dir)
        self.code, self.sweep_dir = code, sweep_dir


def run_composed(composed: DictConfig) -> float | None:
    """Run, or score again, what was composed; return the score, or None where something was wrong.

    What was wrong has been said and is kept in `FAILURES`.

    Raises:
        JobFailed: If something was wrong in a job of a sweep; the other jobs go on, in whatever process they are.
    """
    launchers.join_slurm_step()
    try:
        return _run(typed(composed))
    except (*USER_ERRORS, WorkerDied) as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise _failed_job(error) from None
        FAILURES.append(code_of(error))
        say(error)
        return None


def code_of(error: Exception) -> int:
    """Return the exit code: a process that died is not the user's mistake."""
    return 1 if isinstance(error, WorkerDied) else 2


def _failed_job(error: Exception) -> JobFailed:
    """Say what was wrong in this job of a sweep, and leave it in the sweep's folder."""
    hydra = HydraConfig.get()
    message = f"{explain(error)}\n(job {hydra.job.num} of the sweep: {' '.join(hydra.overrides.task)})"
    _print_error(message)
    if launchers.rank() == 0:
        place = Path(hydra.sweep.dir) / FAILED_JOBS
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{hydra.job.num}.txt").write_text(message + "\n", encoding="utf-8")
    return JobFailed(code_of(error), hydra.sweep.dir)


def _run(config: Config) -> float | None:
    with uncollected():
        from light_peft.launch import num_processes, run_in_processes
        from light_peft.report.table import show_record
        from light_peft.rescoring import rescore
        from light_peft.session import run

    console = Console(quiet=launchers.rank() != 0)
    if config.evaluate is not None:
        if (size := launchers.group_size()) > 1:
            raise ValueError(f"evaluate={config.evaluate}: one process does it, not {size}; leave the launcher away")
        return rescore(config.evaluate, value_overrides(), console)
    if launchers.wants_cpu() and config.runtime.device == "auto":
        config.runtime.device = "cpu"
    count, words = num_processes(config), HydraConfig.get().overrides.task
    record, folder = run_in_processes(config, count, words) if count > 1 else run(config, console, words)
    show_record(console, record, folder)
    return record.score


def typed(composed: DictConfig) -> Config:
    """Return the composed configuration as the package's own type; a sweep's job gets its own folder."""
    values: dict[str, Any] = OmegaConf.to_container(composed, resolve=True)  # type: ignore[assignment]
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN:
        values["run_dir"] = values["run_dir"] or str(Path(hydra.sweep.dir) / str(hydra.sweep.subdir))
        if values["estimate"]["reuse"] == "auto":
            values["estimate"]["reuse"] = str(Path(hydra.sweep.dir) / ESTIMATES)
    return config_from_dict(values)


def value_overrides() -> dict[str, Any]:
    """Return the command line's `key=value` words as nested values.

    Raises:
        ValueError: If a word chooses a group, which a finished run does not allow.
    """
    words = [word for word in HydraConfig.get().overrides.task if not word.startswith("evaluate=")]
    groups = [word for word in words if "." not in word.split("=")[0] and options_of(word.split("=")[0].lstrip("+"))]
    if groups:
        raise ValueError(f"evaluate= takes single values such as data.dir=..., not {', '.join(groups)}")
    return OmegaConf.to_container(OmegaConf.from_dotlist(words))  # type: ignore[return-value]


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
    """Call `command` and return the exit code."""
    try:
        command()
    except JobFailed as failed:
        place = Path(failed.sweep_dir) / FAILED_JOBS
        numbers = sorted(int(path.stem) for path in place.glob("*.txt"))
        Console(stderr=True).print(
            f"failed jobs of the sweep: {', '.join(map(str, numbers))} (why: {place})", soft_wrap=True
        )
        return failed.code
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
    return max(FAILURES, default=0)


def say(error: Exception) -> str:
    """Print what went wrong as one message on stderr, and return it; in a group one process of each machine does."""
    message = explain(error)
    _print_error(message)
    return message


def _print_error(message: str) -> None:
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


def options_of(group: str) -> list[str]:
    """Return the names of the options of a group."""
    folder = conf_dir() / group
    return sorted(path.stem for path in folder.glob("*.yaml"))


def _keys(schema: type, prefix: str = "") -> list[str]:
    keys = []
    for entry in fields(schema):
        inner = entry.default_factory
        keys.append(prefix + entry.name)
        if isinstance(inner, type) and is_dataclass(inner):
            keys += _keys(inner, f"{prefix}{entry.name}.")
    return keys


def conf_dir() -> Path:
    """Return the folder of the configuration files."""
    return Path(__file__).resolve().parents[2] / "conf"
