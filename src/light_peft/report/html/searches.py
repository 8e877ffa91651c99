"""A search: its trials by cost and score, its budget, the front, and the best."""

from pathlib import Path
from typing import Any, NamedTuple

from light_peft.artifacts import read_json
from light_peft.report.html.svg import Axis, Drawing, Look, Panel, number

SEARCH = "search.json"
"""What a search leaves in the folder of its sweep."""
BEST, FRONT, OTHER = Look("s1", 2), Look("accent", 0), Look("faint", 0)


class Trial(NamedTuple):
    """A trial that has finished."""

    number: int
    cost: float
    score: float
    told: str


def search_in(folder: Path) -> Drawing | None:
    """Return the trials of the search in a folder; None where there was none, or not two of its trials have finished.

    Raises:
        ValueError: If the search's file is damaged.
    """
    path = folder / SEARCH
    if not path.exists():
        return None
    values = read_json(path)
    try:
        return _drawing(values)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: {type(error).__name__}: {error}") from error


def _drawing(values: dict[str, Any]) -> Drawing | None:
    cost, limits, best = str(values["cost"]), values["budget"] or {}, values["best"]
    trials = [_trial(trial, cost) for trial in values["trials"] if trial["score"] is not None]
    if len(trials) < 2:
        return None
    limit = float(limits[cost]) if cost in limits else None
    x = Axis.over([*(trial.cost for trial in trials), *([limit] if limit is not None else [])], f"cost: {cost}")
    panel = Panel(x, Axis.over([trial.score for trial in trials], "score × 100"), "trials of the search")
    if limit is not None:
        panel.upright(limit)
    front = sorted(trial for trial in trials if trial.number in values["front"])
    if len(front) > 1:
        panel.line(sorted((trial.cost, trial.score) for trial in front), "front")
    for trial in sorted(trials, key=lambda trial: (trial.number == best, trial.number in values["front"])):
        look = BEST if trial.number == best else FRONT if trial.number in values["front"] else OTHER
        panel.dot((trial.cost, trial.score), look, trial.told)
    said = [f"{len(trials)} of {len(values['trials'])} trials finished", *_best(trials, best)]
    said += [f"budget: {name} at most {number(float(most))}" for name, most in limits.items()]
    return Drawing("Trials", panel.svg(), "; ".join(said))


def _best(trials: list[Trial], best: int | None) -> list[str]:
    """Return which of the trials is the diamond."""
    return [f"the diamond is the best, {trial.told}" for trial in trials if trial.number == best]


def _trial(values: dict[str, Any], cost: str) -> Trial:
    params = ", ".join(f"{name}={value}" for name, value in values["params"].items())
    told = f"trial {values['number']}: score {100 * values['score']:.1f}, {cost} {values['cost']:.3g} ({params})"
    return Trial(values["number"], float(values["cost"]), 100 * float(values["score"]), told)
