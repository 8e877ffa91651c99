"""`lora_gradient`: importance from the weights and gradients of LoRA, without gradients of the model.

Shape suffixes: I input, O output, R rank.
"""

from collections.abc import Iterator, Mapping

import torch

from light_peft.model import Backbone, Port, Site
from light_peft.model.cut import weight_OI
from light_peft.peft_modules import PeftView
from light_peft.pruning.criteria.criterion import Criterion, GroupScores, Subject
from light_peft.pruning.scores import lora_gradient_OI


class LoraGradient(Criterion):
    """Sum over a group's weights of (w g)^2, g from LoRA's factors and their gradients alone.

    Zhang et al., LoRAPrune, arXiv 2305.18403, section 3: there a group's importance is averaged over
    the steps by a moving average, here over the window. Of a group's matrices only those that carry
    LoRA can be seen.
    """

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self._ports = {site: [p for p in site.ports if p.path in subject.views] for site in subject.sites}

    @classmethod
    def refusals(cls, views: Mapping[str, PeftView], backbone: Backbone) -> Iterator[str]:
        """Name the sublayers on which no Linear carries factors."""
        seen = {path for path, view in views.items() if view.factors() is not None and view.increment_OI() is not None}
        blind = {site.kind for site in backbone.sites if not any(port.path in seen for port in site.ports)}
        if blind:
            yield (
                f"prune.criterion=lora_gradient: no LoRA module on the {' and '.join(sorted(blind))} sublayers; add "
                "their projections to peft.targets, or take another criterion"
            )

    @torch.no_grad()
    def of_step(self) -> GroupScores:
        """Return the sum of (w g)^2 over the weights of each group."""
        return [sum((self._of_port(site, port) for port in self._ports[site]), torch.zeros(())) for site in self._ports]

    def importance(self, means: GroupScores) -> GroupScores:
        """Return the means."""
        return means

    def _of_port(self, site: Site, port: Port) -> torch.Tensor:
        view = self.subject.views[port.path]
        factors = view.factors()
        assert factors is not None
        a_RI, b_OR = factors
        assert a_RI.grad is not None
        assert b_OR.grad is not None
        increment_OI = view.increment_OI()
        assert increment_OI is not None
        acting_OI = weight_OI(self.subject.base_linear(port.path)).float() + increment_OI
        saliency_OI = (acting_OI * lora_gradient_OI(a_RI, a_RI.grad, b_OR, b_OR.grad)).square()
        per_feature = saliency_OI.sum(dim=0 if port is site.consumer else 1)
        return port.sum_groups(per_feature)


CRITERION = LoraGradient
