"""The trials of a search and the file that holds them, `search.json` in the folder of the search."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from light_peft.artifacts import read_json, write_json
from light_peft.search.goal import Goal, best_of, front_of
from light_peft.search.space import Value
from light_peft.sweeps.cells import BROKEN, FINISHED

SEARCH = "search.json"


@dataclass(frozen=True)
class Trial:
    """One setting that was tried.

    Attributes:
        number: Its place in the search, from 0.
        params: The values it had for the ranges.
        keys: What tells its cells, one for each seed.
        status: `finished` or `failed`.
        score: Mean of its runs; None where one failed.
        cost: Mean of the cost that shall be low; None where one failed.
        costs: The same of each cost that counts.
        seconds: Of all its runs, as their records have it.
        within_budget: Whether the budget holds; true without one, false where a run failed.
        code: The exit code of the run that failed.
        error: What went wrong, in one line.
    """

    number: int
    params: dict[str, Value]
    keys: list[str]
    status: str = BROKEN
    score: float | None = None
    cost: float | None = None
    costs: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    within_budget: bool = False
    code: int = 0
    error: str | None = None


@dataclass(frozen=True)
class Asked:
    """What a search was asked for; another one is another search.

    Attributes:
        words: The words that all trials share, but for those that do not change what a run finds.
        space: The ranges by key, as they were given.
        seeds: Of each trial's runs; none where the words say.
        goal: What it is after.
        sampler: How settings are chosen, by its name in `SAMPLERS`.
        sampler_seed: The seed of that.
    """

    words: list[str]
    space: dict[str, str]
    seeds: list[int]
    goal: Goal
    sampler: str
    sampler_seed: int

    def values(self) -> dict[str, Any]:
        """Return it as the file has it."""
        budget = None if self.goal.limited is None else {self.goal.limited: self.goal.at_most}
        own = {"words": self.words, "space": self.space, "seeds": self.seeds}
        return own | {
            "cost": self.goal.cost,
            "budget": budget,
            "sampler": self.sampler,
            "sampler_seed": self.sampler_seed,
        }


class TrialFile:
    """The file of a search."""

    def __init__(self, folder: Path, asked: Asked, command: str) -> None:
        """Take up the search in `folder`, or begin it.

        Raises:
            ValueError: If the one that is there is another, or its file is damaged.
        """
        self.path, self._asked = folder / SEARCH, asked
        there = read_json(self.path) if self.path.exists() else asked.values() | {"trials": [], "commands": []}
        try:
            self.before = [_trial(values) for values in there["trials"]]
            self._commands = list(dict.fromkeys([*there["commands"], command]))
            differing = [key for key, value in asked.values().items() if there[key] != value]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{self.path} is damaged: {type(error).__name__}: {error}") from error
        if differing:
            ours = asked.values()
            lines = [f"  {key} is {there[key]} there and {ours[key]} now" for key in differing]
            raise ValueError("\n".join([f"{folder}: holds another search; name another folder", *lines]))

    def write(self, trials: Sequence[Trial], metric: str | None) -> None:
        """Write what has been tried, with what was found before and has not been looked at again yet."""
        known = [*trials, *self.before[len(trials) :]]
        best, front = standing(known)
        listed = [asdict(trial) | {"on_front": trial.number in front} for trial in known]
        values = {"objective": metric, **self._asked.values(), "trials": listed, "best": best, "front": front}
        write_json(self.path, values | {"commands": self._commands})


def standing(trials: Sequence[Trial]) -> tuple[int | None, list[int]]:
    """Return the numbers of the best trial within the budget (None without one) and of the front of all finished."""
    done = {
        trial.number: (trial.score, trial.cost)
        for trial in trials
        if trial.status == FINISHED and trial.score is not None and trial.cost is not None
    }
    within = {trial.number: done[trial.number] for trial in trials if trial.number in done and trial.within_budget}
    return best_of(within), front_of(done)


def _trial(values: dict[str, Any]) -> Trial:
    return Trial(**{name: value for name, value in values.items() if name != "on_front"})
