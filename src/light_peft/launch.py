"""From a configuration to processes: how many, and a run in them as if it were one."""

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from light_peft import launchers
from light_peft.artifacts import RunRecord
from light_peft.asked import check_config
from light_peft.config import Config
from light_peft.interrupts import Interrupted
from light_peft.opening import open_run
from light_peft.runtime import pick_device
from light_peft.session import run
from light_peft.supervisor import WorkerDied, Workers


def run_whole(config: Config, console: Console, words: Sequence[str] = ()) -> tuple[RunRecord, Path]:
    """Run the whole method once, in this process or in as many as it takes; return its record and its folder.

    Raises:
        ValueError: If something is wrong with what was asked for; the record says so where the run had begun.
        WorkerDied: If one of several processes died.
        Interrupted: If the run was told to end; it can go on.
    """
    if launchers.wants_cpu() and config.runtime.device == "auto":
        config.runtime.device = "cpu"
    count = num_processes(config)
    return run_in_processes(config, count, words) if count > 1 else run(config, console, words)


def num_processes(config: Config) -> int:
    """Return how many processes shall be started here: 1 where a launcher has done so.

    Raises:
        ValueError: If something is wrong with the configuration, there are not as many devices, or a launcher was
            asked for more processes than it has started.
    """
    check_config(config)
    if launchers.is_in_group():
        return 1
    device, asked = pick_device(config.runtime.device), config.runtime.processes
    count = asked or launchers.asked_of_accelerate()
    devices = num_devices(device)
    if count is not None and count > (devices or count):
        raise ValueError(f"runtime.processes={count}: this machine has {devices} of the device {device}, one for each")
    return count or devices or 1


def num_devices(device: str) -> int | None:
    """Return how many devices of a kind this machine has; None for the CPU, which processes share."""
    if device == "cuda":
        import torch

        return torch.cuda.device_count()
    return 1 if device == "mps" else None


def threads_for(config: Config, count: int) -> int:
    """Return the CPU threads of each of `count` processes, so that all together take the cores once."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return config.runtime.threads or max(1, cores // count)


def run_in_processes(config: Config, count: int, words: Sequence[str] = ()) -> tuple[RunRecord, Path]:
    """Run the whole method once in `count` processes on this machine; return its record and the folder that holds it.

    Raises:
        ValueError: If something is wrong with what was asked for; the record says so where the run had begun.
        WorkerDied: If a process died, or failed for a reason of ours; the others have ended, and the record says which.
        Interrupted: If SIGTERM or SIGINT ended the run; all processes have had the time to write a checkpoint.
    """
    check_config(config)
    opened = open_run(config, words)
    folder = opened.folder
    opened.close()  # the first of the processes opens it for itself
    if opened.is_finished:
        return opened.record, folder
    with tempfile.TemporaryDirectory(prefix="light-peft-") as reports:
        command = [sys.executable, "-m", "light_peft.worker", str(folder)]
        workers = Workers(command, count, threads_for(config, count), Path(reports))
        workers.wait()
        if (failed := workers.first_failure()) is not None:
            _give_up(workers, failed, folder)
        if (signum := workers.stopped_by()) is not None:
            interrupted = Interrupted(signum)
            interrupted.add_note(f"the same command with run_dir={folder} goes on")
            raise interrupted
    return RunRecord.read(folder), folder


def _give_up(workers: Workers, failed: int, folder: Path) -> NoReturn:
    """Raise what the worker that failed has to say; where it could not say it, the record does from here on."""
    if (message := workers.user_error(failed)) is not None:
        raise ValueError(message)
    short, whole = workers.explain(failed)
    record = RunRecord.read(folder)
    record.status, record.error = "failed", short
    record.write(folder)
    raise WorkerDied(f"{whole}\nthe same command with run_dir={folder} goes on")
