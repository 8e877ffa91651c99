"""Where the prunable groups of a transformer lie.

Attention heads and FFN neurons have one shape: *producer* Linears whose output rows form `count`
groups, and one *consumer* Linear whose input columns form the same groups.
"""

from dataclasses import dataclass
from typing import Literal

import torch

Kind = Literal["attn", "ffn"]


@dataclass(frozen=True)
class Port:
    """One side of a Linear that is divided into groups.

    Attributes:
        path: Module path of the Linear inside the model.
        size: Features per group (head width for heads, 1 for neurons).
        sections: How many copies of the divided axis the Linear stacks; 3 for a projection [query | key | value].
    """

    path: str
    size: int
    sections: int = 1

    def features(self, groups: torch.Tensor, count: int) -> torch.Tensor:
        """Return the feature indices of the whole `groups` out of `count`, section by section, in the groups' order."""
        section = (groups.unsqueeze(1) * self.size + torch.arange(self.size)).flatten()
        starts = torch.arange(self.sections) * (count * self.size)
        return (starts.unsqueeze(1) + section).flatten()

    def sum_groups(self, per_feature: torch.Tensor) -> torch.Tensor:
        """Return the sum over the features of each group, shape [count]."""
        return per_feature.reshape(self.sections, -1, self.size).sum(dim=(0, 2))


@dataclass(frozen=True)
class Site:
    """One prunable sublayer: `count` groups that are kept or cut as wholes.

    With grouped-query attention a group is a key/value head with its query heads, so the ports of
    one site may differ in size.
    """

    layer: int
    kind: Kind
    producers: tuple[Port, ...]
    consumer: Port
    count: int

    def __post_init__(self) -> None:
        assert self.count > 0
        assert self.producers
        assert all(port.size > 0 for port in (*self.producers, self.consumer))
        assert self.consumer.sections == 1

    @property
    def ports(self) -> tuple[Port, ...]:
        """All Linears of the site, producers first."""
        return (*self.producers, self.consumer)
