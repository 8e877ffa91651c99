"""The learnable scalars: one per group, multiplied onto the consumer's input.

Multiplying the input of the output (or down) projection is the same arithmetic as multiplying the
head's output (or the neuron's activation), needs no change to any model's code, and lets PEFT on
that projection see the masked input too (Light-PEFT, section "masked early pruning").
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import nn

from light_peft.model import Kind, Site

PARAMETER = "group_mask"

MaskUse = Literal["learned", "watched", "unused"]
"""learned: an optimizer trains the masks; watched: they stay at 1 and have gradients; unused: there are none."""


class MaskSet:
    """The masks of some sites of one model, each a parameter of its consumer, all 1 at the start.

    Attributes:
        masks: The parameter of each site, shape [site.count], fp32.
        use: What the masks are for.
    """

    def __init__(self, model: nn.Module, sites: Iterable[Site], use: MaskUse = "learned") -> None:
        """Put a mask in front of every site's consumer, unless masks are unused."""
        self.use = use
        self.masks: dict[Site, nn.Parameter] = {}
        self._consumers: list[nn.Module] = []
        self._hooks: list[Any] = []
        for site in sites if use != "unused" else ():
            consumer = model.get_submodule(site.consumer.path)
            assert PARAMETER not in consumer._parameters, f"{site.consumer.path} is masked already"
            device = next(consumer.parameters()).device
            consumer.register_parameter(PARAMETER, nn.Parameter(torch.ones(site.count, device=device)))
            self.masks[site] = consumer.get_parameter(PARAMETER)
            self._consumers.append(consumer)
            self._hooks.append(consumer.register_forward_pre_hook(multiply_by_mask))

    def of(self, kind: Kind) -> list[nn.Parameter]:
        """Return the masks of one kind, in the order of the layers."""
        return [mask for site, mask in self.masks.items() if site.kind == kind]

    def gradient(self, site: Site) -> torch.Tensor:
        """Return dL/dm of a site's mask, shape [site.count]."""
        gradient = self.masks[site].grad
        assert gradient is not None, "no backward pass has been here"
        return gradient

    def forget_watched_gradients(self) -> None:
        """Drop the gradients of masks that no optimizer clears."""
        if self.use == "watched":
            for mask in self.masks.values():
                mask.grad = None

    def l1(self, kind: Kind) -> torch.Tensor:
        """Return sum|m| over all layers, a scalar with a gradient."""
        return torch.cat([*self.of(kind)]).abs().sum()

    def named(self) -> dict[str, torch.Tensor]:
        """Return a copy of the learned values by `<kind>.<layer>`; empty if none are learned."""
        if self.use != "learned":
            return {}
        return {f"{site.kind}.{site.layer}": mask.detach().clone() for site, mask in self.masks.items()}

    @torch.no_grad()
    def zero_except(self, kept: dict[Site, tuple[int, ...]], *, keep_values: bool) -> None:
        """Set the masks of all groups outside `kept` to 0, the others to 1 unless `keep_values`."""
        for site, mask in self.masks.items():
            hard = torch.zeros_like(mask)
            hard[list(kept[site])] = 1.0
            mask.copy_(mask * hard if keep_values else hard)

    def remove(self) -> None:
        """Take every mask and its hook off the model."""
        for hook in self._hooks:
            hook.remove()
        for consumer in self._consumers:
            del consumer._parameters[PARAMETER]
        self._hooks, self._consumers = [], []


@contextmanager
def masked(model: nn.Module, sites: Iterable[Site], use: MaskUse = "learned") -> Iterator[MaskSet]:
    """Mask `model` inside the block and leave it without masks afterwards."""
    masks = MaskSet(model, sites, use)
    try:
        yield masks
    finally:
        masks.remove()


def multiply_by_mask(consumer: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Multiply the consumer's input [..., count * size] group by group, in fp32, keeping its dtype."""
    hidden, *rest = args
    mask = consumer.get_parameter(PARAMETER)
    grouped = hidden.unflatten(-1, (mask.numel(), -1)) * mask.unsqueeze(-1)
    return (grouped.flatten(-2).to(hidden.dtype), *rest)
