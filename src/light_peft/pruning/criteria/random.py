"""`random`: the baseline that every criterion has to beat."""

import torch

from light_peft.pruning.criteria.criterion import Criterion, GroupScores


class Random(Criterion):
    """Uniform values, fixed by the seed of the run alone."""

    def importance(self, means: GroupScores) -> GroupScores:
        """Return the same values at each call."""
        generator = torch.Generator().manual_seed(self.subject.seed)
        return [torch.rand(site.count, generator=generator) for site in self.subject.sites]


CRITERION = Random
