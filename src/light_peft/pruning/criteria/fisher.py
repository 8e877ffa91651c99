"""`fisher`: the diagonal of the empirical Fisher information of the masks."""

from typing import ClassVar

from light_peft.pruning.criteria.criterion import Criterion, GroupScores
from light_peft.pruning.masks import MaskUse


class Fisher(Criterion):
    """Mean over the steps of (dL/dm)^2 at m = 1.

    Kwon et al., A Fast Post-Training Pruning Framework for Transformers, arXiv 2204.09656, section 4;
    here the gradient is that of a batch, there of one example.
    """

    mask_use: ClassVar[MaskUse] = "watched"

    def of_step(self) -> GroupScores:
        """Return g^2 of each group; g is the gradient of the step's mean loss."""
        return [self.subject.masks.gradient(site).square() for site in self.subject.sites]

    def importance(self, means: GroupScores) -> GroupScores:
        """Return the means."""
        return means


CRITERION = Fisher
