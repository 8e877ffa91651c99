"""Several processes of one run: what is done once for all, and what is summed over all.

With one process every function here is its argument. Collectives must be reached by all processes alike.
"""

from collections.abc import Callable
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

T = TypeVar("T")


def on_main(accelerator: Accelerator, action: Callable[[], T]) -> T:
    """Return, on every process, what `action` returns on the main one.

    Raises:
        ValueError: On every process, if the action raises one.
        RuntimeError: On the others, if the main process raises anything else.
    """
    if accelerator.num_processes == 1:
        return action()
    answer: list[object] = [None, None, None]
    try:
        if accelerator.is_main_process:
            answer[0] = action()
    except BaseException as error:
        answer[1:] = [isinstance(error, ValueError), str(error) or type(error).__name__]
        raise
    finally:
        broadcast_object_list(answer)
    result, is_value_error, message = answer
    if message is not None:
        raise ValueError(message) if is_value_error else RuntimeError(f"the main process failed: {message}")
    return result  # type: ignore[return-value]


def sum_over(accelerator: Accelerator, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return each tensor summed over the processes, in one exchange; they have one dtype and one device."""
    if accelerator.num_processes == 1:
        return tensors
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    torch.distributed.all_reduce(flat)
    sums = flat.split([tensor.numel() for tensor in tensors])
    return tuple(part.view(tensor.shape) for part, tensor in zip(sums, tensors, strict=True))


def any_of(accelerator: Accelerator, *flags: bool) -> tuple[bool, ...]:
    """Return for each flag whether it is set on any process. The device is not waited for."""
    if accelerator.num_processes == 1:
        return flags
    host = torch.tensor(flags, dtype=torch.int32)
    torch.distributed.all_reduce(host, op=torch.distributed.ReduceOp.MAX)
    return tuple(map(bool, host.tolist()))
