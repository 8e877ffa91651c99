"""What is added to the frozen model: what a PEFT kind is (`kind`), and one small file per kind (`kinds`)."""

import pkgutil
from functools import cache
from importlib import import_module

from transformers import PreTrainedModel

from light_peft.config import Config
from light_peft.model import Backbone
from light_peft.model.checkpointing import checkpointing_refusals
from light_peft.peft_modules.kind import Adapter, PeftKind, PeftView

__all__ = ["Adapter", "PeftKind", "PeftView", "all_kinds", "check_model", "peft_kind"]


@cache
def all_kinds() -> dict[str, PeftKind]:
    """Return every PEFT kind by its name, which is the name of its file in `kinds`."""
    package = import_module(f"{__name__}.kinds")
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    return {name: import_module(f"{__name__}.kinds.{name}").KIND for name in names}


def peft_kind(name: str) -> PeftKind:
    """Return the PEFT kind of this name, one of `all_kinds`."""
    assert name in all_kinds(), f"unknown PEFT kind {name}"
    return all_kinds()[name]


def check_model(config: Config, model: PreTrainedModel, backbone: Backbone) -> None:
    """Hold what is asked for against the model, before anything is attached or trained.

    Raises:
        ValueError: If kind or model cannot do what is asked for; the message lists every reason.
    """
    of_kind = peft_kind(config.peft.kind).model_refusals(config, model, backbone)
    if reasons := [*of_kind, *checkpointing_refusals(config, model)]:
        raise ValueError("\n".join(reasons))
