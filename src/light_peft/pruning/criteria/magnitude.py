"""`magnitude`: the size of a group's own weights; no step is needed."""

import torch

from light_peft.model.cut import weight_OI
from light_peft.pruning.criteria.criterion import Criterion, GroupScores


class Magnitude(Criterion):
    """The 2-norm of all weights of a group: its rows of the producers and its columns of the consumer.

    Li et al., Pruning Filters for Efficient ConvNets, arXiv 1608.08710, carried over to groups that
    span several matrices; the frozen weights alone, without PEFT.
    """

    @torch.no_grad()
    def importance(self, means: GroupScores) -> GroupScores:
        """Return the norm of each group, in fp32."""
        return [self._norms(index) for index in range(len(self.subject.sites))]

    def _norms(self, index: int) -> torch.Tensor:
        site = self.subject.sites[index]
        squares = torch.zeros(site.count)
        for port in site.ports:
            squares_OI = weight_OI(self.subject.base_linear(port.path)).detach().float().square()
            per_feature = squares_OI.sum(dim=0 if port is site.consumer else 1)
            squares += port.sum_groups(per_feature).cpu()
        return squares.sqrt()


CRITERION = Magnitude
