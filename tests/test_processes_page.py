"""Every command in docs/processes.md composes, and its launcher understands what it is told."""

import re
import shlex
from typing import Any

import pytest
from accelerate.commands.launch import launch_command_parser
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch.distributed.run import get_args_parser

from light_peft import door
from light_peft.config import config_from_dict
from light_peft.peft_modules import all_kinds
from light_peft.pruning.criteria import criterion_names
from light_peft.validation import check

PAGE = door.conf_dir().parent / "docs" / "processes.md"
COMMANDS = [line.strip() for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("    ")]


def hydra_of(words: list[str]) -> tuple[Any, Any]:
    """Return what the words compose to, of a sweep its first job: the run's values and Hydra's own."""
    door.register()
    first = [re.sub(r"=([^,\[]+),.*", r"=\1", word) for word in words if word != "-m"]
    with initialize_config_dir(version_base="1.3", config_dir=str(door.conf_dir())):
        both = compose("config", overrides=first, return_hydra_config=True)
        return compose("config", overrides=[word for word in first if not word.startswith("hydra")]), both.hydra


def words_of_run(command: str) -> list[str]:
    """Return what stands behind the launcher's `-m run`, which understands what stands before."""
    words = shlex.split(command)
    if words[0] == "python":
        assert words[1:3] == ["-m", "run"]
        return words[3:]
    if words[:2] == ["accelerate", "launch"]:
        asked = launch_command_parser().parse_args(words[2:])
        assert asked.num_processes > 1
    else:
        assert words[0] == "torchrun"
        asked = get_args_parser().parse_args(words[1:])
        assert asked.nproc_per_node is not None
    assert asked.module
    assert asked.training_script == "run"
    return list(asked.training_script_args)


def test_the_page_has_commands() -> None:
    starts = {shlex.split(command)[0] for command in COMMANDS}
    assert starts == {"python", "accelerate", "torchrun"}
    assert len(COMMANDS) >= 10


@pytest.mark.parametrize("command", COMMANDS)
def test_command_composes(command: str) -> None:
    values, _ = hydra_of(words_of_run(command))
    check(config_from_dict(OmegaConf.to_container(values, resolve=True)), all_kinds(), criterion_names())  # type: ignore[arg-type]


def test_slurm_gives_back_what_was_preempted() -> None:
    """Two machines of four GPUs are eight processes; a job that was cut off comes back."""
    (command,) = [command for command in COMMANDS if "nodes=2" in command and "slurm" in command]
    _, hydra = hydra_of(words_of_run(command))
    launcher = hydra.launcher
    assert launcher._target_.endswith("SlurmLauncher")
    assert (launcher.nodes, launcher.tasks_per_node, launcher.gpus_per_node) == (2, 4, 4)
    assert launcher.max_num_timeout > 0
    assert launcher.signal_delay_s < launcher.timeout_min * 60


@pytest.mark.parametrize("name", ["joblib", "slurm", "submitit_local"])
def test_no_launcher_brings_logging_of_its_own(name: str) -> None:
    _, hydra = hydra_of([f"hydra/launcher={name}"])
    assert hydra.job_logging.root is None
    assert hydra.hydra_logging.root is None
    assert hydra.output_subdir is None
