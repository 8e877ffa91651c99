"""`mask`: the learned mask values, the criterion of Light-PEFT."""

from typing import ClassVar

from light_peft.pruning.criteria.criterion import Criterion, GroupScores
from light_peft.pruning.masks import MaskUse
from light_peft.pruning.scores import mask_importance


class LearnedMask(Criterion):
    """|m|, or m itself with `prune.compare=signed` (Gu et al., Light-PEFT, arXiv 2406.03792, section 3)."""

    mask_use: ClassVar[MaskUse] = "learned"

    def importance(self, means: GroupScores) -> GroupScores:
        """Return the values the masks have now."""
        masks, compare = self.subject.masks.masks, self.subject.config.compare
        return [mask_importance(masks[site], compare) for site in self.subject.sites]


CRITERION = LearnedMask
