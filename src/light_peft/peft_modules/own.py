"""The saved form and the tensors of the kinds that HF peft has not: what is trained, by its name in the model."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from light_peft import artifacts
from light_peft.writing import whole_folder

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"


def train_head(model: nn.Module, head_modules: tuple[str, ...]) -> None:
    """Freeze `model` but for its head."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(bool(set(head_modules) & set(name.split("."))))


def trained_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return a copy of the parameters that can be trained."""
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


@torch.no_grad()
def put_tensors(model: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """Set the named parameters of `model`; they alone can be trained afterwards.

    Raises:
        ValueError: If a shape is another one.
    """
    model.requires_grad_(False)
    for name, tensor in tensors.items():
        parameter = model.get_parameter(name)
        if parameter.shape != tensor.shape:
            raise ValueError(
                f"wrong base model: {name} has shape {list(parameter.shape)}, the adapter's is {list(tensor.shape)}"
            )
        parameter.copy_(tensor)
        parameter.requires_grad_(True)


def save_own(target: Path, values: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    """Write an adapter as JSON and safetensors."""
    with whole_folder(target) as folder:
        artifacts.write_json(folder / CONFIG, values)
        artifacts.write_tensors(folder / TENSORS, tensors)


def load_own(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return what `save_own` wrote.

    Raises:
        ValueError: If a file is missing or damaged.
    """
    return artifacts.read_json(folder / CONFIG), artifacts.read_tensors(folder / TENSORS)
