"""The PEFT kinds, one small file each with a `KIND`; HF peft does the work where it can."""

import pkgutil
from importlib import import_module
from typing import cast

from light_peft.peft_modules.kind import Adapter, PeftKind, PeftView

__all__ = ["Adapter", "PeftKind", "PeftView", "kind_names", "peft_kind"]


def kind_names() -> list[str]:
    """Return the names of all PEFT kinds."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "kind")


def peft_kind(name: str) -> PeftKind:
    """Return the PEFT kind of this name, one of `kind_names`."""
    assert name in kind_names(), f"unknown PEFT kind {name}"
    return cast(PeftKind, import_module(f"{__name__}.{name}").KIND)
