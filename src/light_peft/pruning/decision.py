"""From what was measured to what stays, on one backbone."""

from collections.abc import Mapping

from light_peft.config import PruneConfig
from light_peft.model import Backbone
from light_peft.peft_modules import PeftView
from light_peft.pruning import recovery
from light_peft.pruning.criteria import criterion_of
from light_peft.pruning.plan import PruneRule, PruningPlan, make_plan
from light_peft.pruning.scores import Scores
from light_peft.pruning.surgery import modules_on_empty_sites


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
