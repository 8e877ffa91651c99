"""The frozen weights spread over the processes by FSDP2; what trains stays whole on each of them.

Masks, hooks, importance and the optimizer see ordinary tensors, for only what nothing trains is divided: each
block is one unit, the rest (embeddings, a language-model head) another, gathered just while it computes. FSDP2 has
no way back to an ordinary model, which the cut needs, so `unshard` takes away what it has put on the modules.
"""

import gc
import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import TypeVar

import torch
from accelerate import Accelerator
from torch import distributed, nn
from torch.distributed._composable.contract import REGISTRY_KEY, STATE_KEY
from torch.distributed._composable_state import _module_state_mapping
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

FSDP = "torch.distributed.fsdp"
"""Package that the hooks of a sharded module come from."""
HOOKS = tuple(name for name in vars(nn.Module()) if name.endswith("_hooks"))
HOOK_FLAGS = tuple(name for name in vars(nn.Module()) if "_hooks_" in name)
MARKS = ("_is_fsdp_managed_module", "_fsdp_use_orig_params", STATE_KEY, REGISTRY_KEY)
"""Attributes that `fully_shard` leaves on modules: tables of hooks, flags of single hooks, and its own."""
ACTION = "_action_inside"

Result = TypeVar("Result")

logger = logging.getLogger(__name__)


def place(model: nn.Module, blocks: Sequence[nn.Module], accelerator: Accelerator, sharding: str) -> nn.Module:
    """Return `model` where this process computes: whole, or its frozen weights sharded if `sharding` is `fsdp`."""
    if sharding == "fsdp" and accelerator.num_processes > 1:
        shard(model, blocks, accelerator.device)
        here, whole = sharded_bytes(model)
        logger.info(f"this process holds {here:,} bytes of the {whole:,} of frozen weights")
        return model
    if sharding == "fsdp":
        logger.warning("runtime.sharding=fsdp has no effect: there is one process")
    return model.to(accelerator.device)


def shard(model: nn.Module, blocks: Sequence[nn.Module], device: torch.device) -> nn.Module:
    """Return `model` on `device` with each process holding its part of every frozen weight; all must call it.

    Every forward pass from now on takes all processes, as many times on each. What can be trained, and what has
    fewer entries than there are processes, stays whole on each of them.

    Args:
        model: What forward passes go through, the same on all processes.
        blocks: The transformer blocks inside.
        device: Where this process computes.
    """
    assert not is_sharded(model), "the model is sharded already"
    mesh = init_device_mesh(device.type, (distributed.get_world_size(),))
    whole = {p for p in model.parameters() if p.requires_grad or p.numel() < mesh.size()}
    for module in (*blocks, model):
        fully_shard(module, mesh=mesh, reshard_after_forward=True, ignored_params=whole)
    for parameter in whole:
        parameter.data = parameter.data.to(device)
    return model


@torch.no_grad()
def unshard(model: nn.Module, *, keep: bool = True) -> nn.Module:
    """Return `model` as it was before `shard`, whole and on the CPU of this process; all must call it.

    The frozen weights are gathered one at a time. A process that does not `keep` them is left with their shapes.
    """
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
    gathered: dict[nn.Parameter, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if not isinstance(parameter, DTensor):
                continue
            if parameter not in gathered:  # a weight under two names stays one
                gathered[parameter] = _whole(parameter, keep=keep)
            module._parameters[name] = gathered[parameter]
    gathered.clear()
    for module in model.modules():
        _forget(module)
    gc.collect()  # what FSDP2 knew of the model refers to itself
    return model.to("cpu") if keep else model


def sharded_bytes(model: nn.Module) -> tuple[int, int]:
    """Return the bytes of sharded weights that this process holds, and those of all processes together."""
    parts = [parameter for parameter in model.parameters() if isinstance(parameter, DTensor)]
    return sum(part.to_local().nbytes for part in parts), sum(part.numel() * part.element_size() for part in parts)


def is_sharded(model: nn.Module) -> bool:
    """Return whether `shard` was called on `model` and `unshard` was not."""
    return isinstance(model, FSDPModule)


def whole_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """Return `tensor`, gathered if it is a part of a sharded one, which all processes must ask for."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def inside(model: nn.Module, action: Callable[[], Result]) -> Result:
    """Return the result of `action`, which runs parts of `model` but not its own forward pass, such as generation.

    Those weights of a sharded model that belong to no block are at hand meanwhile.
    """
    if not isinstance(model, FSDPModule):
        return action()
    setattr(model, ACTION, action)
    register_fsdp_forward_method(model, ACTION)
    try:
        result: Result = getattr(model, ACTION)()
    finally:
        delattr(model, ACTION)
    return result


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Set the gradients to their means over the processes, all of which have them for the same parameters."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    gradients.sort(key=lambda gradient: str(gradient.dtype))
    for _, alike in groupby(gradients, key=lambda gradient: gradient.dtype):
        group = list(alike)
        flat = torch.cat([gradient.reshape(-1) for gradient in group])
        distributed.all_reduce(flat)
        flat /= distributed.get_world_size()
        for gradient, mean in zip(group, flat.split([gradient.numel() for gradient in group]), strict=True):
            gradient.copy_(mean.view_as(gradient))


def _whole(parameter: DTensor, *, keep: bool) -> nn.Parameter:
    """Return the whole of a parameter on the CPU, or only its shape."""
    tensor = parameter.full_tensor()
    return nn.Parameter(tensor.to("cpu" if keep else "meta"), requires_grad=parameter.requires_grad)


def _forget(module: nn.Module) -> None:
    """Take off `module` whatever `fully_shard` has put on it."""
    for table in HOOKS:
        hooks = getattr(module, table)
        for number in [n for n, hook in hooks.items() if str(getattr(hook, "__module__", "")).startswith(FSDP)]:
            del hooks[number]
            for flags in HOOK_FLAGS:
                getattr(module, flags).pop(number, None)
    for mark in MARKS:
        module.__dict__.pop(mark, None)
    if isinstance(module, FSDPModule):
        module.__class__ = type(module).__mro__[FSDPModule._orig_cls_mro_index]
        _module_state_mapping.pop(module, None)
