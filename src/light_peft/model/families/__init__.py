"""The model families, one small file each; a new file with a `FAMILY` is found by itself."""

import pkgutil
from importlib import import_module

from light_peft.model.family import Family


def all_families() -> dict[str, Family]:
    """Return the family of each known `config.model_type`."""
    found: dict[str, Family] = {}
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        family: Family = import_module(f"{__name__}.{module.name}").FAMILY
        found.update(dict.fromkeys(family.model_types, family))
    return found
