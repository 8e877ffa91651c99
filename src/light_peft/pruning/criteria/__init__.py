"""What makes a head or neuron worth keeping: the criteria, one small file each with a `CRITERION`.

The file's name is the value of `prune.criterion`. All share estimation, plan and surgery; only the
scores of heads and neurons differ, those of PEFT modules and ranks are the method's own.
"""

import pkgutil
from importlib import import_module
from typing import cast

from light_peft.pruning.criteria.criterion import Criterion, Subject, with_virtual_tokens

__all__ = ["Criterion", "Subject", "criterion_names", "criterion_of", "with_virtual_tokens"]


def criterion_names() -> list[str]:
    """Return the names of all criteria."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "criterion")


def criterion_of(name: str) -> type[Criterion]:
    """Return the criterion of this name, one of `criterion_names`."""
    assert name in criterion_names(), f"unknown criterion {name}"
    return cast(type[Criterion], import_module(f"{__name__}.{name}").CRITERION)
