"""The one cut: rows and columns of a matrix, for heads and neurons, model and PEFT alike.

Shape suffixes: O output width, I input width.
"""

from dataclasses import dataclass
from typing import TypeGuard

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from light_peft.model.sharding import whole_tensor


@dataclass(frozen=True)
class MatrixCut:
    """What stays of the map of one Linear.

    Attributes:
        rows: Output features that stay, ascending; None keeps all.
        columns: Input features that stay, ascending; None keeps all.
        column_scale: Factor of each column that stays (a folded mask); None is 1.
    """

    rows: torch.Tensor | None = None
    columns: torch.Tensor | None = None
    column_scale: torch.Tensor | None = None

    def of_output(self, matrix: torch.Tensor) -> torch.Tensor:
        """Return what stays of a tensor whose first axis is the output, such as W, b or LoRA's B."""
        return matrix if self.rows is None else matrix.index_select(0, self.rows.to(matrix.device))

    def of_input(self, matrix: torch.Tensor) -> torch.Tensor:
        """Return what stays, scaled, of a tensor [*, I] whose last axis is the input, such as W or LoRA's A."""
        if self.columns is not None:
            matrix = matrix.index_select(-1, self.columns.to(matrix.device))
        if self.column_scale is not None:
            matrix = matrix * self.column_scale.to(device=matrix.device, dtype=matrix.dtype)
        return matrix


def is_linear(module: nn.Module) -> TypeGuard[nn.Linear | Conv1D]:
    """Whether `module` is a plain linear map: torch's Linear, or GPT-2's Conv1D, which stores its weight as [I, O]."""
    return isinstance(module, nn.Linear | Conv1D)


def width_out_in(linear: nn.Module) -> tuple[int, int]:
    """Return the output and the input width of a linear map, however it stores its weight."""
    first, second = linear.get_parameter("weight").shape
    return (second, first) if isinstance(linear, Conv1D) else (first, second)


def weight_OI(linear: nn.Module) -> torch.Tensor:
    """Return the weight of a linear map as [O, I], however it is stored; a sharded one is gathered."""
    weight = whole_tensor(linear.get_parameter("weight"))
    return weight.T if isinstance(linear, Conv1D) else weight


@torch.no_grad()
def cut_linear(linear: nn.Linear | Conv1D, cut: MatrixCut) -> None:
    """Replace the weight and bias of `linear` by what stays; its features follow."""
    trained = linear.weight.requires_grad
    if isinstance(linear, Conv1D):
        weight_IO = cut.of_input(cut.of_output(linear.weight.T)).T
        linear.weight = nn.Parameter(weight_IO.contiguous(), requires_grad=trained)
        linear.nx, linear.nf = linear.weight.shape
    else:
        weight_OI = cut.of_input(cut.of_output(linear.weight))
        linear.weight = nn.Parameter(weight_OI.contiguous(), requires_grad=trained)
        linear.out_features, linear.in_features = linear.weight.shape
    if linear.bias is not None:
        linear.bias = nn.Parameter(cut.of_output(linear.bias), requires_grad=linear.bias.requires_grad)


def replace_parameter(linear: nn.Module, name: str, tensor: torch.Tensor) -> None:
    """Put `tensor`, a weight [O, I] or a bias [O], in the place of the parameter `name`, or where a bias is missing."""
    weight, before = linear.get_parameter("weight"), linear._parameters[name]
    stored = tensor.T if name == "weight" and isinstance(linear, Conv1D) else tensor
    assert before is None or before.shape == stored.shape, f"{name} has another shape"
    parameter = nn.Parameter(stored.to(weight.device).contiguous(), requires_grad=weight.requires_grad)
    linear.register_parameter(name, parameter)
