"""What can be chosen on the command line: the groups and options of `conf/`, and folders that are models."""

import itertools
import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from light_peft.config import Config

MODEL = "model="


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


def as_typed(words: Iterable[str]) -> list[str]:
    """Return the words of a run with the folder in place of the choice that was made of it, in any process."""
    return [MODEL + _folder_of(word.removeprefix(MODEL)) if word.startswith(MODEL) else word for word in words]


def _folder_of(name: str) -> str:
    made = ConfigStore.instance().repo.get("model", {}).get(f"{name}.yaml")
    return str(made.node.path) if made is not None and name not in options_of("model") else name


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


def options_of(group: str) -> list[str]:
    """Return the names of the options of a group."""
    folder = conf_dir() / group
    return sorted(path.stem for path in folder.glob("*.yaml"))


def conf_dir() -> Path:
    """Return the folder of the configuration files."""
    return Path(__file__).resolve().parents[3] / "conf"
