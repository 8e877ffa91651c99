"""`taylor`: the first-order estimate of what the loss gains when a group is cut."""

from typing import ClassVar

from light_peft.pruning.criteria.criterion import Criterion, GroupScores
from light_peft.pruning.masks import MaskUse


class Taylor(Criterion):
    """Mean over the steps of |m dL/dm| at m = 1.

    Michel et al., Are Sixteen Heads Really Better than One?, arXiv 1905.10650, there for heads; Molchanov
    et al., Importance Estimation for Neural Network Pruning, arXiv 1906.10771, for any unit.
    """

    mask_use: ClassVar[MaskUse] = "watched"

    def of_step(self) -> GroupScores:
        """Return |m g| of each group; g is the gradient of the step's mean loss."""
        masks = self.subject.masks
        return [(masks.masks[site].detach() * masks.gradient(site)).abs() for site in self.subject.sites]

    def importance(self, means: GroupScores) -> GroupScores:
        """Return the means."""
        return means


CRITERION = Taylor
