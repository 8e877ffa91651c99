"""What was composed is run, by itself or as a cell of a sweep, or scored again."""

from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from light_peft import launchers
from light_peft.config import Config, config_from_dict
from light_peft.door.cell import Cell, run_here
from light_peft.door.choices import as_typed, options_of
from light_peft.door.saying import FAILURES, USER_ERRORS, JobFailed, code_of, say
from light_peft.imports import uncollected
from light_peft.supervisor import WorkerDied


def run_composed(composed: DictConfig) -> float | None:
    """Run, or score again, what was composed; return the score, or None where something was wrong.

    What was wrong has been said and is kept in `FAILURES`; of a cell of a sweep it is noted in the sweep's folder.

    Raises:
        JobFailed: If a cell has failed and the sweeper is not Hydra's own, which goes on by itself.
    """
    launchers.join_slurm_step()
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN and composed.evaluate is None:
        return Cell(composed, hydra, as_typed(hydra.overrides.task)).run()
    try:
        return _run(config_from_dict(OmegaConf.to_container(composed, resolve=True)))  # type: ignore[arg-type]
    except (*USER_ERRORS, WorkerDied) as error:
        FAILURES.append(code_of(error))
        say(error)
        if hydra.mode == RunMode.MULTIRUN:
            raise JobFailed(code_of(error)) from None
        return None


def _run(config: Config) -> float | None:
    console = Console(quiet=launchers.rank() != 0)
    if config.evaluate is None:
        return run_here(config, console, as_typed(HydraConfig.get().overrides.task)).score
    with uncollected():
        from light_peft.rescoring import rescore
    if (size := launchers.group_size()) > 1:
        raise ValueError(f"evaluate={config.evaluate}: one process does it, not {size}; leave the launcher away")
    return rescore(config.evaluate, value_overrides(), console)


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
