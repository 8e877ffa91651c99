"""A tree of plain values and tensors as one JSON file and one safetensors file, and back to the bit.

In the JSON an object is never a dict of the tree but a mark with one key: `tensor` (its name in the other file),
`dict` (pairs, so that keys need not be strings), `tuple`, and `float` for the three that JSON has no word for.
"""

import math
from pathlib import Path
from typing import Any

import torch
from torch import nn

from light_peft.artifacts import read_json, read_tensors, write_json, write_tensors

State = dict[str, Any]
"""A tree of dicts, lists, tuples, None, bool, int, float, str and tensors; keys are of the plain types, too."""

JSON, TENSORS = ".json", ".safetensors"


def write_state(folder: Path, name: str, state: State) -> None:
    """Write `state` as `name`.json and `name`.safetensors into `folder`.

    Raises:
        NotWrittenError: If the system refuses.
        TypeError: If something in it is of another type; its place is named.
    """
    tensors: dict[str, torch.Tensor] = {}
    encoded = encode(state, tensors)
    write_tensors(folder / (name + TENSORS), tensors)
    write_json(folder / (name + JSON), encoded)


def read_state(folder: Path, name: str) -> State:
    """Return what was written: equal values of the same types, tensors on the CPU and each with its own memory.

    Subclasses come back as what they extend: a named tuple as a tuple, a parameter as a tensor.

    Raises:
        ValueError: If a file is missing or damaged.
    """
    state: State = decode(read_json(folder / (name + JSON)), read_tensors(folder / (name + TENSORS)))
    return state


def encode(value: Any, tensors: dict[str, torch.Tensor], place: str = "") -> Any:
    """Return `value` as JSON has it; its tensors go into `tensors`, named by their order and place.

    Raises:
        TypeError: If something is of a type that would not come back.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float": str(float(value))}
    if isinstance(value, dict):
        pairs = ((key, item, f"{place}.{key}") for key, item in value.items())
        return {"dict": [[encode(key, tensors, at), encode(item, tensors, at)] for key, item, at in pairs]}
    if isinstance(value, list | tuple):
        items = [encode(item, tensors, f"{place}.{index}") for index, item in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if type(value) in (torch.Tensor, nn.Parameter):
        name = f"{len(tensors)}{place}"
        tensors[name] = value
        return {"tensor": name}
    raise TypeError(f"state{place}: {type(value).__name__} would not come back from a checkpoint")


def decode(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """Return the value that `encode` was given."""
    if isinstance(value, list):
        return [decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    ((mark, content),) = value.items()
    match mark:
        case "dict":
            return {decode(key, tensors): decode(item, tensors) for key, item in content}
        case "tuple":
            return tuple(decode(item, tensors) for item in content)
        case "tensor":
            return tensors[content]
        case "float":
            return float(content)
    raise ValueError(f"a state has no {mark!r}")
