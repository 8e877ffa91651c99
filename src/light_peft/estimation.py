"""The estimation phase: PEFT, head and masks learn together, and meanwhile it shows what is important.

Where runs share one estimation, it is done by the first of them, and the others take over what it has found.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import datasets
from torch import nn

from light_peft.config import Config
from light_peft.estimates import Estimations, depends_on, is_shared
from light_peft.evaluation.examiner import Examiner
from light_peft.keeping import Stateful
from light_peft.model import Backbone
from light_peft.peft_modules import PeftKind
from light_peft.phases import Phases
from light_peft.processes import sum_over
from light_peft.pruning import recovery
from light_peft.pruning.criteria import Subject, criterion_of
from light_peft.pruning.decision import plan_of
from light_peft.pruning.estimate import ImportanceRecorder, mask_groups, mask_penalty
from light_peft.pruning.masks import MaskSet, masked
from light_peft.pruning.moments import ConsumerMoments, Moments
from light_peft.pruning.plan import PruneRule
from light_peft.pruning.scores import Scores
from light_peft.pruning.settle import Settlement
from light_peft.training.loop import Observer, Phase
from light_peft.training.optim import trainable_groups


@dataclass(frozen=True)
class Estimated:
    """What estimation leaves.

    Attributes:
        model: The model with PEFT as it has learned so far, without masks.
        scores: The importance of everything that may be cut.
        moments: What enters the consumers, over all processes, where recovery needs to know it.
    """

    model: nn.Module
    scores: Scores
    moments: dict[str, Moments]


class Estimation:
    """The estimation phase of one run."""

    def __init__(self, config: Config, kind: PeftKind, backbone: Backbone, phases: Phases, origin: str) -> None:
        """Make ready to estimate; `origin` is the sha256 of the model, if the estimation is shared."""
        self._config, self._kind, self._backbone, self._phases = config, kind, backbone, phases
        self._origin = origin

    def run(self, model: nn.Module, train_set: datasets.Dataset, examiner: Examiner) -> Estimated:
        """Train PEFT, head and masks of `model` together, or stand where another run stood behind that."""
        config, keeper, criterion = self._config, self._phases.keeper, criterion_of(self._config.prune.criterion)
        steps = self._phases.estimation_steps(len(train_set))
        rate = config.estimate.learning_rate or config.train.learning_rate
        groups = trainable_groups(model, rate, config.train.weight_decay)
        bare = self._kind.bare(model)
        with (
            keeper.estimation_of(self._of_others(steps)) as is_reused,
            keeper.meter.phase("estimate"),
            masked(bare, self._backbone.sites, criterion.mask_use) as masks,
        ):
            phase = self._phases.make("estimate", groups + mask_groups(masks, rate, config.estimate), steps, examiner)
            phase.penalty = mask_penalty(masks, config.estimate)
            subject = self._subject(model, masks)
            recorder, settlement, moments = self._watchers(subject, phase)
            parts: dict[str, Stateful] = {"recorder": recorder, "settlement": settlement, "moments": moments}
            with recorder.watching(model), moments.watching(model, recovery.needs_moments(config.prune)):
                watching: list[Observer] = [recorder, settlement]
                model = self._phases.run(phase, model, train_set, examiner, watching, parts)
            if not is_reused or config.estimate.stop == "settled":  # else the checks were of what another run cuts
                keeper.record.history += settlement.history
            return Estimated(model, recorder.scores(), moments.total())

    def _of_others(self, steps: int) -> Estimations | None:
        """Return where the estimation of at most `steps` steps is shared with other runs; None if it is not."""
        if not is_shared(self._config):
            return None
        keeper = self._phases.keeper
        facts = depends_on(self._config, keeper.record, steps, self._origin)
        return Estimations(Path(self._config.estimate.reuse), facts, keeper.accelerator)

    def _subject(self, model: nn.Module, masks: MaskSet) -> Subject:
        config, sums = self._config, partial(sum_over, self._phases.keeper.accelerator)
        bare, views = self._kind.bare(model), self._kind.views(model)
        return Subject(bare, self._backbone, views, masks, config.prune, config.seed, sums)

    def _watchers(self, subject: Subject, phase: Phase) -> tuple[ImportanceRecorder, Settlement, ConsumerMoments]:
        """Return what gathers importance, what sees whether the decision has settled, and what gathers moments."""
        config, criterion = self._config, criterion_of(self._config.prune.criterion)(subject)
        recorder = ImportanceRecorder(
            subject, criterion, config.estimate, phase.steps, counts=lambda: not phase.stands_in
        )
        rule = PruneRule.of(config.prune)
        settlement = Settlement(recorder, lambda found: plan_of(found, rule, self._backbone), config.estimate)
        phase.is_done = lambda: settlement.is_settled
        moments = ConsumerMoments(subject, second=config.prune.refit, counts=lambda: recorder.is_active)
        return recorder, settlement, moments
