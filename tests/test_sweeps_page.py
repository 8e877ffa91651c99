"""Every command in docs/sweeps.md composes, and the page names what a sweep's folder holds."""

import shlex
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from light_peft import door
from light_peft.config import config_from_dict
from light_peft.peft_modules import all_kinds
from light_peft.pruning.criteria import criterion_names
from light_peft.sweeps.cells import FAILED, SWEEP, SWEEP_LOCK
from light_peft.validation import check
from test_processes_page import hydra_of

PAGE = (door.conf_dir().parent / "docs" / "sweeps.md").read_text(encoding="utf-8")
COMMANDS = [line.strip() for line in PAGE.splitlines() if line.startswith("    python ")]


def test_the_page_has_commands() -> None:
    assert len(COMMANDS) >= 7
    assert all(f"`{name}" in PAGE for name in (SWEEP, SWEEP_LOCK, FAILED, "multirun.yaml"))


@pytest.mark.parametrize("command", COMMANDS)
def test_command_composes(command: str, tmp_path: Path) -> None:
    (tmp_path / "glue").mkdir()
    words = shlex.split(command)
    assert words[:4] == ["python", "-m", "run", "-m"]
    values, hydra = hydra_of(
        [word.replace("glob(*,exclude=[webqs])", "rte").replace("=DATA", f"={tmp_path}") for word in words[3:]]
    )
    check(config_from_dict(OmegaConf.to_container(values, resolve=True)), all_kinds(), criterion_names())  # type: ignore[arg-type]
    assert hydra.sweep.subdir == "."
