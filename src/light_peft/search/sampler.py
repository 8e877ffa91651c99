"""Optuna, asked for settings and told what became of them."""

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from light_peft.search.goal import Goal
from light_peft.search.space import Dimension, Params, Space, Value
from light_peft.search.trials import Trial
from light_peft.sweeps.cells import FINISHED

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

SAMPLERS = ("gp", "tpe", "nsga2", "random")
STARTUP = 5
"""Trials at random before what they have found is looked at; Optuna's own 10 are half a search of runs that train."""
POPULATION = 10
"""Trials of a generation of NSGA-II; Optuna's own 50 would be a whole search."""


class Sampler:
    """A study that lives in memory alone: what it knows is told again from the records when a search goes on.

    A sampler of the same seed that is told the same gives the same settings, so a search that is begun again and finds
    its first trials done comes to the very settings that it would have tried next.
    """

    def __init__(self, space: Space, goal: Goal, kind: str, seed: int) -> None:
        """Begin a study.

        Raises:
            ValueError: If Optuna is not installed, or `kind` is unknown.
        """
        self._optuna = load_optuna()
        if kind not in SAMPLERS:
            raise ValueError(f"--sampler {kind}: unknown; there are {', '.join(SAMPLERS)}")
        self._space, self._goal = space, goal
        ranges = sorted(space.dimensions, key=lambda one: one.key)  # the order of the words shall not matter
        self._distributions = {one.key: self._distribution(one) for one in ranges}
        directions = ["maximize", "minimize"][: 1 if goal.is_one else 2]
        self._study = self._optuna.create_study(sampler=self._make(kind, seed), directions=directions)

    def ask(self, before: Params | None = None) -> dict[str, Value]:
        """Return the next setting; it is `before` where that was tried at this place already.

        The two differ where a trial that had failed has finished since, or with another version of Optuna.
        """
        self._trial = self._study.ask(self._distributions)
        asked = {one.key: one.values[self._trial.params[one.key]] for one in self._space.dimensions}
        if before is None or before == asked:
            return asked
        self._study.tell(self._trial, state=self._optuna.trial.TrialState.FAIL)
        self._study.enqueue_trial({one.key: one.values.index(before[one.key]) for one in self._space.dimensions})
        self._trial = self._study.ask(self._distributions)
        return dict(before)

    def tell(self, trial: Trial) -> None:
        """Say what became of the setting that was asked for last."""
        if trial.status != FINISHED:
            self._study.tell(self._trial, state=self._optuna.trial.TrialState.FAIL)
            return
        assert trial.score is not None
        assert trial.cost is not None
        if self._goal.limited is not None:
            self._trial.set_constraint(self._goal.limited, self._goal.excess(trial.costs))
        self._study.tell(self._trial, trial.score if self._goal.is_one else [trial.score, trial.cost])

    def _distribution(self, dimension: Dimension) -> "BaseDistribution":
        """Return the distribution of the place of a value in its list."""
        last = len(dimension.values) - 1
        distributions = self._optuna.distributions
        if dimension.is_ordered:
            return distributions.IntDistribution(0, last)
        return distributions.CategoricalDistribution(range(last + 1))

    def _make(self, kind: str, seed: int) -> "BaseSampler":
        samplers = self._optuna.samplers
        makers: Mapping[str, Callable[[], BaseSampler]] = {
            "gp": lambda: samplers.GPSampler(n_startup_trials=STARTUP, seed=seed),
            "tpe": lambda: samplers.TPESampler(n_startup_trials=STARTUP, seed=seed),
            "nsga2": lambda: samplers.NSGAIISampler(population_size=POPULATION, seed=seed),
            "random": lambda: samplers.RandomSampler(seed=seed),
        }
        return makers[kind]()


def load_optuna() -> Any:
    """Return the module, which is asked to say nothing but warnings.

    Raises:
        ValueError: If it is not installed.
    """
    try:
        optuna = importlib.import_module("optuna")
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise ValueError("a search needs Optuna: pip install 'light-peft[search]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
