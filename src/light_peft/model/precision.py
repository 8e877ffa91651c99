"""In which precision the weights lie: the frozen model in the one asked for, what is trained in fp32."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""The precisions by the names that `model.dtype` takes."""


def head_in_fp32(model: PreTrainedModel, head_modules: Iterable[str]) -> None:
    """Put the weights of a head that sits on 16-bit weights into fp32, and let it take its inputs as fp32.

    It then trains as exactly as any other head, with and without autocast. The hook that converts the
    inputs is a part of the module, so that copies of it have it too. Nothing happens to a model in fp32.
    """
    if model.dtype == torch.float32:
        return
    names = set(head_modules)
    for path, module in model.named_modules():
        if path.rsplit(".", 1)[-1] in names:
            module.float().register_forward_pre_hook(inputs_in_fp32)


def inputs_in_fp32(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the positional inputs of a module, the floating ones in fp32."""
    return tuple(x.float() if isinstance(x, torch.Tensor) and x.is_floating_point() else x for x in inputs)
