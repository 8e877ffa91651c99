"""Weights that a model has under two names, as a language-model head that is the input embedding."""

import torch
from transformers import PreTrainedModel


def own_tensors(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Return the state of a model, each weight under one name."""
    pairs = model.all_tied_weights_keys.items()
    second = {name for name, first in pairs if model.get_parameter(name) is model.get_parameter(first)}
    return {name: tensor for name, tensor in model.state_dict().items() if name not in second}


def take_tensors(model: PreTrainedModel, tensors: dict[str, torch.Tensor]) -> None:
    """Let `model` have the `tensors` as its own; where a second name has none, the weight is under both names again."""
    pairs = {name: first for name, first in model.all_tied_weights_keys.items() if name not in tensors}
    model.load_state_dict(tensors | {name: tensors[first] for name, first in pairs.items()}, assign=True)
    for name, first in pairs.items():
        path, _, attribute = name.rpartition(".")
        model.get_submodule(path).register_parameter(attribute, model.get_parameter(first))
