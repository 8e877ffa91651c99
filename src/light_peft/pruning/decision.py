"""From what was measured to what stays, on one backbone."""

import logging
from collections.abc import Mapping
from dataclasses import replace

from accelerate import Accelerator
from torch import nn

from light_peft.artifacts import RunRecord
from light_peft.config import PruneConfig
from light_peft.meter import Meter, part
from light_peft.model import Backbone
from light_peft.peft_modules import PeftView
from light_peft.processes import on_main
from light_peft.pruning import recovery
from light_peft.pruning.budget import CostModel, Target, find_shares
from light_peft.pruning.criteria import criterion_of
from light_peft.pruning.plan import PruneRule, PruningPlan, make_plan
from light_peft.pruning.probe import Probe, counted_costs
from light_peft.pruning.scores import Scores
from light_peft.pruning.surgery import modules_on_empty_sites

logger = logging.getLogger("light_peft")


def check_prunable(config: PruneConfig, views: Mapping[str, PeftView], backbone: Backbone) -> None:
    """Hold what is configured to be cut against the model and its PEFT modules.

    Raises:
        ValueError: If something cannot be done with them; all of it is named.
    """
    if config.method == "none":
        return
    of_criterion = criterion_of(config.criterion).refusals(views, backbone)
    if reasons := [*of_criterion, *recovery.refusals(config, views)]:
        raise ValueError("\n".join(reasons))


def plan_of(scores: Scores, rule: PruneRule, backbone: Backbone) -> PruningPlan:
    """Return the plan; modules on sublayers that lose everything are the first to go, then as `rule` leans.

    Raises:
        ValueError: If nothing would be left of a layer that must keep something, or of PEFT.
    """
    scores = scores.leaning({path: backbone.layer_of(path) for path in scores.modules}, rule.module_depth)
    plan = make_plan(scores, rule)
    if void := modules_on_empty_sites(backbone, plan):
        plan = make_plan(scores.with_least(void), rule).without(void)
    if scores.ranks and not plan.ranks:
        raise ValueError("prune: every PEFT module left lies on a sublayer that loses all it has; cut less")
    return plan


class Budget:
    """Finds the shares that reach a target, and notes in the record what was asked, predicted and reached."""

    def __init__(self, target: Target, probe: Probe, accelerator: Accelerator, record: RunRecord, meter: Meter) -> None:
        """Measure by `probe` on the main process; what that takes is charged to the surgery."""
        self._target, self._probe = target, probe
        self._accelerator, self._record, self._meter = accelerator, record, meter

    def rule(self, scores: Scores, rule: PruneRule, model: nn.Module, bare: nn.Module, backbone: Backbone) -> PruneRule:
        """Return `rule` with the shares that reach the target.

        Args:
            scores: What was measured in estimation.
            rule: Says all but the shares of heads and neurons.
            model: The model with PEFT, uncut; it stays as it is.
            bare: The foundation model inside.
            backbone: Where its sites are.

        Raises:
            ValueError: If no shares reach it.
        """
        target, record = self._target, self._record
        with self._meter.phase("surgery") as cost, part(cost, "budget"):
            costs = self._costs(scores, rule, model, bare, backbone)
            shares = find_shares(target, costs, scores, rule)
        found = {"attn": shares.attn, "ffn": shares.ffn, "predicted": shares.predicted, "before": costs.before}
        record.budget = {"target": target.name, "asked": target.asked, **found}
        logger.info(
            f"prune.target.{target.name}={target.asked:g}: cuts attn {shares.attn:.3f} and ffn {shares.ffn:.3f}, "
            f"predicted {shares.predicted:.3g}"
        )
        return shares.of(rule)

    def note_reached(self, model: nn.Module) -> None:
        """Note what the cut `model` costs and what has been reached; once, though the run may be taken up again."""
        target, budget = self._target, self._record.budget
        if "reached" in budget:
            return
        if target.name == "blocks":
            after = float(self._record.parameters["blocks_after"])
        else:
            with self._meter.phase("surgery") as cost, part(cost, "budget"):
                after = on_main(self._accelerator, lambda: self._probe.cost(target.name, model))
        budget |= {"after": after, "reached": target.ratio(budget["before"], after)}
        logger.info(f"prune.target.{target.name}={target.asked:g}: reached {budget['reached']:.3g}")

    def _costs(
        self, scores: Scores, rule: PruneRule, model: nn.Module, bare: nn.Module, backbone: Backbone
    ) -> CostModel:
        name = self._target.name
        if name == "blocks":
            return counted_costs(bare, backbone, self._record.parameters["blocks_before"])
        modules_only = plan_of(scores, replace(rule, attn=0.0, ffn=0.0), backbone)
        return on_main(self._accelerator, lambda: self._probe.costs(name, model, modules_only))
