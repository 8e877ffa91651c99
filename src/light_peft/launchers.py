"""What started this process: a launcher that has made a group of processes, one that only meant to, or nothing."""

import os
import re
from collections.abc import MutableMapping
from functools import cache

RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
LOCAL_RANKS = ("LOCAL_RANK", "MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_RANK")
"""Environment variables of torchrun and accelerate, and of MPI's launchers."""
STALE = re.compile(r"RANK$|^WORLD_SIZE$|^(MASTER|LOCAL|GROUP|ROLE|ACCELERATE|TORCHELASTIC|PMI|OMPI|MV2)_")
"""Environment variables that speak of another group than the one to be started."""
FIRST_HOST = re.compile(r"([^\[,]*)(?:\[(\w+)[^\]]*\]([^,]*))?")
"""The first of Slurm's list of hosts, such as `node[03-05,9]-a,other`."""
NUM_PORTS = 20_000
FIRST_PORT = 20_000


def is_in_group() -> bool:
    """Whether a launcher has started this process as a member of a group."""
    return _number(RANKS, -1) >= 0 and _number(SIZES, 0) > 0


def group_size() -> int:
    """Return the number of processes of the group that a launcher has started; 1 where none has."""
    return _number(SIZES, 1) if is_in_group() else 1


def rank() -> int:
    """Return the number of this process in its group; 0 where there is none."""
    return _number(RANKS, 0) if is_in_group() else 0


def speaks() -> bool:
    """Whether this process prints messages: the first of its group on each machine does."""
    return not is_in_group() or _number(LOCAL_RANKS, 0) == 0


def wants_cpu() -> bool:
    """Whether accelerate was told to stay on the CPU."""
    return os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("true", "1")


def asked_of_accelerate() -> int | None:
    """Return the number of processes that `accelerate launch` was asked for where it has started this one alone.

    On a CPU, and without MPI, it starts one process whatever it is asked for; it then leaves the address of a
    group that nobody makes. The number is in its command line or its configuration file.

    Raises:
        ValueError: If the number cannot be found, or processes on several machines were asked for.
    """
    if is_in_group() or "ACCELERATE_MIXED_PRECISION" not in os.environ or "MASTER_PORT" not in os.environ:
        return None
    count, machines = _accelerate_counts()
    if machines > 1:
        raise ValueError(
            f"accelerate launch --num_machines {machines}: on CPUs accelerate makes no group of several machines "
            "without MPI; start the command on each machine with torchrun instead"
        )
    if count is None:
        raise ValueError(
            "accelerate launch was asked for several processes and has started one; say how many with runtime.processes"
        )
    return count


@cache
def _accelerate_counts() -> tuple[int | None, int]:
    """Return the processes and the machines of the `accelerate launch` above this process; None where unknown."""
    import psutil
    from accelerate.commands.config.config_args import default_config_file, load_config_from_file
    from accelerate.commands.launch import launch_command_parser

    for ancestor in psutil.Process().parents():
        words = _launch_words(ancestor.cmdline())
        if words is not None:
            asked = launch_command_parser().parse_args(words)
            file = asked.config_file or (default_config_file if os.path.isfile(default_config_file) else None)
            saved = load_config_from_file(file) if file else None
            count = asked.num_processes or getattr(saved, "num_processes", None)
            return count, asked.num_machines or getattr(saved, "num_machines", None) or 1
    return None, 1


def _launch_words(command: list[str]) -> list[str] | None:
    """Return what stands behind `accelerate launch` in a command line; None if that is no part of it."""
    for at, word in enumerate(command[:4]):
        name = os.path.basename(word)
        if name == "accelerate-launch" or word == "accelerate.commands.launch":
            return command[at + 1 :]
        if name == "accelerate" and command[at + 1 : at + 2] == ["launch"]:
            return command[at + 2 :]
        if word.endswith("accelerate.commands.accelerate_cli") and command[at + 1 : at + 2] == ["launch"]:
            return command[at + 2 :]
    return None


def join_slurm_step(environment: MutableMapping[str, str] = os.environ) -> None:
    """Say in torch's words which task of a Slurm step this is, where the step has several and nobody has said so.

    In a step that is a shell to type in, one task is there and the others wait for nothing.
    """
    is_shell = "SLURM_PTY_PORT" in environment
    if is_shell or "RANK" in environment or int(environment.get("SLURM_STEP_NUM_TASKS", 1)) <= 1:
        return
    tasks, nodes = int(environment["SLURM_STEP_NUM_TASKS"]), int(environment.get("SLURM_STEP_NUM_NODES", 1))
    hosts = environment.get("SLURM_STEP_NODELIST") or environment["SLURM_JOB_NODELIST"]
    number = int(environment["SLURM_JOB_ID"]) + int(environment.get("SLURM_STEP_ID", 0))
    environment.update(
        RANK=environment["SLURM_PROCID"],
        WORLD_SIZE=str(tasks),
        LOCAL_RANK=environment["SLURM_LOCALID"],
        LOCAL_WORLD_SIZE=str(tasks // nodes),
        MASTER_ADDR=first_host(hosts),
        MASTER_PORT=str(FIRST_PORT + number % NUM_PORTS),
    )


def first_host(hosts: str) -> str:
    """Return the first name of Slurm's list of hosts."""
    found = FIRST_HOST.match(hosts)
    assert found is not None
    return "".join(part or "" for part in found.groups())


def _number(names: tuple[str, ...], missing: int) -> int:
    """Return the first of the environment variables that holds a number."""
    values = (os.environ.get(name, "") for name in names)
    return next((int(value) for value in values if value.isdecimal()), missing)
