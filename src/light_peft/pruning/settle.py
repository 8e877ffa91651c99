"""Whether the decision still changes: what would be kept, compared from check to check."""

from collections.abc import Callable, Mapping
from statistics import mean
from typing import Any

from light_peft.config import EstimateConfig
from light_peft.pruning.estimate import ImportanceRecorder
from light_peft.pruning.plan import PruningPlan
from light_peft.pruning.scores import Scores


class Settlement:
    """Makes a plan at every check and notes how far it agrees with the one before.

    Attributes:
        history: For each check but the first, the step and the agreement (Jaccard) of heads, neurons and
            ranks with the check before.
    """

    def __init__(
        self, recorder: ImportanceRecorder, decide: Callable[[Scores], PruningPlan], config: EstimateConfig
    ) -> None:
        self.history: list[dict[str, Any]] = []
        self._recorder, self._decide, self._config = recorder, decide, config
        self._before: PruningPlan | None = None
        self._recent: list[dict[str, float]] = []

    @property
    def is_settled(self) -> bool:
        """Whether the phase may end: over the last checks each agreement is, in the mean, as high as asked for."""
        recent = self._recent[-self._config.patience :]
        if self._config.stop != "settled" or len(recent) < self._config.patience:
            return False
        return all(mean(one[name] for one in recent) >= self._config.tolerance for name in recent[0])

    def after_backward(self, step: int) -> None:
        """Look at nothing."""

    def after_step(self, step: int) -> None:
        """Check, if it is time and something has been measured."""
        done = step + 1
        if done % self._config.check_every or self._recorder.means.is_empty:
            return
        plan, before = self._plan(), self._before
        self._before = plan
        if plan is None or before is None:
            self._recent = []
            return
        self._recent.append(plan.agreement(before))
        self.history.append({"phase": "estimate", "step": done, "agreement": self._recent[-1]})

    def state(self) -> dict[str, Any]:
        """Return what the checks have found so far."""
        before = self._before.to_json() if self._before is not None else None
        return {"history": self.history, "before": before, "recent": self._recent}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Have found what `state` says."""
        before = state["before"]
        self._before = PruningPlan.from_json(before) if before is not None else None
        self.history, self._recent = state["history"], state["recent"]

    def _plan(self) -> PruningPlan | None:
        """Return the plan of this moment; None where the scores so far would empty a layer."""
        try:
            return self._decide(self._recorder.scores())
        except ValueError:
            return None
