"""`python -m run`: compose the configuration, run the method, leave a record."""

import sys

import hydra
from omegaconf import DictConfig

from light_peft import door

door.register()


@hydra.main(version_base="1.3", config_path=str(door.conf_dir()), config_name="config")
def compose_and_run(composed: DictConfig) -> float | None:
    """Run what was composed and return the score, for sweepers that search."""
    return door.run_composed(composed)


def checked() -> None:
    """Look at the command line, then let Hydra compose what it says."""
    door.check_words(sys.argv[1:])
    compose_and_run()


def main() -> None:
    """Exit with 0, or with 2 and one message where something was wrong with what was asked for."""
    sys.argv[1:] = door.prepared(sys.argv[1:])
    sys.exit(door.guarded(checked))


if __name__ == "__main__":
    main()
