"""What the families share: the sites of a plain layer, and attention that has lost heads."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig

from light_peft.model.site import Port, Site

Paths = Mapping[str, tuple[str, ...]]
"""The paths of a layer's projections by their standard names."""


class NoHeads(nn.Module):
    """Attention that has lost every head: its consumer sees zero columns and adds its bias.

    Where the consumer lies inside the attention module, it and what follows it stay, under their names.
    """

    def __init__(self, attention: nn.Module, kept: tuple[str, ...] = ()) -> None:
        """Keep the submodules `kept` of `attention`, in the order in which they are applied."""
        super().__init__()
        for name in kept:
            self.add_module(name, attention.get_submodule(name))

    def forward(self, hidden_states: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, None]:
        """Return what the submodules make of an output of width 0 for `hidden_states` [B, T, D]."""
        output = hidden_states.new_zeros(*hidden_states.shape[:-1], 0)
        for module in self.children():
            output = module(output)
        return output, None


def head_width(config: PretrainedConfig) -> int:
    """Return the features per head; some families set it apart from the model's width."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def attn_site(config: PretrainedConfig, layer: int, paths: Paths) -> Site:
    """Return the attention site of a layer in which every head has its own query, key and value."""
    width = head_width(config)
    producers = tuple(Port(path, width) for name in ("query", "key", "value") for path in paths[name])
    (consumer,) = paths["attn_output"]
    return Site(layer, "attn", producers, Port(consumer, width), config.num_attention_heads)


def fused_attn_site(config: PretrainedConfig, layer: int, paths: Paths, fused: Port) -> Site:
    """Return the attention site of a layer with one projection for query, key and value."""
    (consumer,) = paths["attn_output"]
    return Site(layer, "attn", (fused,), Port(consumer, head_width(config)), config.num_attention_heads)


def ffn_site(layer: int, paths: Paths, neurons: int) -> Site:
    """Return the FFN site of a layer; a gate is a second producer."""
    (consumer,) = paths["output"]
    return Site(layer, "ffn", tuple(Port(path, 1) for path in paths["intermediate"]), Port(consumer, 1), neurons)


def keep_heads(
    model: nn.Module, site: Site, num_kept: int, *, counts: tuple[str, ...] = (), kept: tuple[str, ...] = ()
) -> None:
    """Set what attention reads besides its shapes, or replace it where no head is left.

    Args:
        model: The model that has been cut.
        site: The attention site.
        num_kept: Groups that are left.
        counts: Attributes of the attention module that hold the number of heads.
        kept: Submodules that stay where no head is left, see `NoHeads`.
    """
    path, _, _ = site.producers[0].path.rpartition(".")
    attention = model.get_submodule(path)
    if num_kept == 0:
        replace(model, path, NoHeads(attention, kept))
        return
    for name in counts:
        assert hasattr(attention, name), f"{path} has no {name}"
        setattr(attention, name, num_kept)


def replace(model: nn.Module, path: str, module: nn.Module) -> None:
    """Put `module` in the place of the submodule at `path`."""
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)
