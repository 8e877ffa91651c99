"""The learnable scalars: one per group, multiplied onto the consumer's input.

Multiplying the input of the output (or down) projection is the same arithmetic as multiplying the
head's output (or the neuron's activation), needs no change to any model's code, and lets PEFT on
that projection see the masked input too (Light-PEFT, section "masked early pruning").

Masks that stay at 1 are not multiplied: their gradient is that of the product all the same.

Shape suffixes: N rows of the consumer's input (batch and tokens), I its width, G groups.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import nn

from light_peft.model import Kind, Site

PARAMETER = "group_mask"

CHUNK_ENTRIES, CPU_CHUNK_ENTRIES = 2**22, 2**17
"""Products that are held at a time: 16 MiB on an accelerator; half a MiB on a CPU, whose caches they fit."""

MaskUse = Literal["learned", "watched", "unused"]
"""learned: an optimizer trains the masks; watched: they stay at 1 and have gradients; unused: there are none."""


class MaskSet:
    """The masks of some sites of one model, each a parameter of its consumer, all 1 at the start.

    Attributes:
        masks: The parameter of each site, shape [site.count], fp32.
        use: What the masks are for.
        is_watching: Whether watched masks get gradients; without, a forward pass is that of the model alone.
    """

    def __init__(self, model: nn.Module, sites: Iterable[Site], use: MaskUse = "learned") -> None:
        """Put a mask in front of every site's consumer, unless masks are unused."""
        self.use, self.is_watching = use, True
        self._are_factors = use == "learned"
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
            self._hooks.append(consumer.register_forward_pre_hook(self._put_on))

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
        self._are_factors = True
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

    def _put_on(self, consumer: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        """Return the consumer's input with its mask on; None where it stays as it is."""
        mask, (hidden, *rest) = consumer.get_parameter(PARAMETER), args
        if not self._are_factors and not (self.is_watching and torch.is_grad_enabled()):
            return None
        masked_hidden: torch.Tensor = GroupProduct.apply(hidden, mask, not self._are_factors)
        return (masked_hidden, *rest)


@contextmanager
def masked(model: nn.Module, sites: Iterable[Site], use: MaskUse = "learned") -> Iterator[MaskSet]:
    """Mask `model` inside the block and leave it without masks afterwards."""
    masks = MaskSet(model, sites, use)
    try:
        yield masks
    finally:
        masks.remove()


class GroupProduct(torch.autograd.Function):
    """The consumer's input [..., count * size] times its mask [count], group by group, in fp32, keeping its dtype.

    Of the input nothing but itself is kept for the backward pass, which PEFT on the consumer keeps too where nothing
    is in between.
    """

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, mask: torch.Tensor, is_one: bool) -> torch.Tensor:
        """Return the product; with `is_one`, which all entries then are, the input itself."""
        ctx.save_for_backward(hidden, mask)
        ctx.is_one = is_one
        return hidden if is_one else multiplied(hidden, mask)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
        """Return the gradients of input and mask: m dL/dy, and the sums of x dL/dy over all rows of each group."""
        (hidden, mask), (gradient,) = ctx.saved_tensors, gradients
        of_hidden = of_mask = None
        if ctx.needs_input_grad[1]:
            of_mask = sum_of_products_I(hidden, gradient).reshape(mask.numel(), -1).sum(dim=1).to(mask.dtype)
        if ctx.needs_input_grad[0]:
            of_hidden = gradient if ctx.is_one else multiplied(gradient, mask)
        return of_hidden, of_mask, None


def multiplied(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return `hidden` [..., count * size] times `mask` [count], computed in fp32, in its own dtype."""
    grouped = hidden.reshape(*hidden.shape[:-1], mask.numel(), -1) * mask.unsqueeze(-1)
    return grouped.reshape(hidden.shape).to(hidden.dtype)


def sum_of_products_I(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return the sum of one * other [..., I] over all but the last axis, in fp32.

    It goes by chunks of rows: on a CPU a product of full size costs several times the sum itself, for memory that is
    fresh from the system.
    """
    one_NI, other_NI = one.reshape(-1, one.shape[-1]), other.reshape(-1, other.shape[-1])
    chunk = max(1, (CPU_CHUNK_ENTRIES if one.device.type == "cpu" else CHUNK_ENTRIES) // one.shape[-1])
    chunks = zip(one_NI.split(chunk), other_NI.split(chunk), strict=True)
    return torch.stack([(some_NI.float() * others_NI.float()).sum(dim=0) for some_NI, others_NI in chunks]).sum(dim=0)
