"""What a criterion is, and what it may look at."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from light_peft.config import PruneConfig
from light_peft.model import Backbone, Site
from light_peft.peft_modules import PeftView
from light_peft.pruning.masks import MaskSet, MaskUse

GroupScores = list[torch.Tensor]
"""One vector [site.count] for each site, in the backbone's order."""
SumOver = Callable[..., tuple[torch.Tensor, ...]]
"""Returns each of its tensors summed over the processes of the run."""


def of_one_process(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the tensors as they are."""
    return tensors


@dataclass(frozen=True)
class Subject:
    """What estimation looks at.

    Attributes:
        model: The foundation model with PEFT in place; the paths of `backbone` are valid on it.
        backbone: Where the sites are.
        views: The PEFT modules by path.
        masks: The masks on the sites.
        config: The `prune` settings.
        seed: Seed of the run.
        sums: Sums over the processes of the run, what each has seen of a step.
    """

    model: nn.Module
    backbone: Backbone
    views: Mapping[str, PeftView]
    masks: MaskSet
    config: PruneConfig
    seed: int
    sums: SumOver = of_one_process

    @property
    def sites(self) -> tuple[Site, ...]:
        """All sites, in the order of every list of scores."""
        return self.backbone.sites

    def base_linear(self, path: str) -> nn.Module:
        """Return the foundation model's own Linear at `path`, without the PEFT around it."""
        layer = self.model.get_submodule(path)
        base = getattr(layer, "base_layer", layer)
        assert isinstance(base, nn.Module)
        return base


class Criterion(ABC):
    """Gives every head and neuron its importance; larger stays longer.

    What a step measures is averaged over the window of the estimation phase, what needs no step is
    given at the end.

    Attributes:
        mask_use: What the criterion needs the masks for.
    """

    mask_use: ClassVar[MaskUse] = "unused"

    def __init__(self, subject: Subject) -> None:
        self.subject = subject

    @classmethod
    def refusals(cls, views: Mapping[str, PeftView], backbone: Backbone) -> Iterator[str]:
        """Say what is missing in this model for the criterion to work."""
        yield from ()

    def hooks(self) -> list[RemovableHandle]:
        """Watch the forward passes until the handles are removed."""
        return []

    def after_forward(self, tokens_BT: torch.Tensor) -> None:
        """See a forward pass of a step that counts.

        Args:
            tokens_BT: Which tokens of the batch are none of padding, 1 or 0.
        """
        assert tokens_BT.ndim == 2

    def of_step(self) -> GroupScores:
        """Return what this optimizer step of all processes says, gradients at hand; empty if steps say nothing."""
        return []

    @abstractmethod
    def importance(self, means: GroupScores) -> GroupScores:
        """Return the importance, from the means of `of_step` over the window."""


def with_virtual_tokens(tokens_BT: torch.Tensor, num_tokens: int) -> torch.Tensor:
    """Return which tokens count where PEFT has put virtual ones in front of each example: those count all.

    Args:
        tokens_BT: Which of the batch's own tokens are none of padding.
        num_tokens: Tokens that the model sees, all examples together.
    """
    extra = num_tokens // tokens_BT.shape[0] - tokens_BT.shape[1]
    return nn.functional.pad(tokens_BT, (extra, 0), value=1)
