"""What a search says on the way and in the end."""

import shlex
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from light_peft.search.goal import Goal
from light_peft.search.space import Space
from light_peft.search.trials import Trial, standing
from light_peft.sweeps.cells import FINISHED


def show_trial(console: Console, trial: Trial, count: int, goal: Goal) -> None:
    """Print what became of a trial in one line."""
    params = " ".join(f"{key}={value}" for key, value in trial.params.items())
    if trial.status == FINISHED:
        costs = ", ".join(f"{name} {value:.3f}" for name, value in trial.costs.items())
        place = "" if goal.limited is None else ", within the budget" if trial.within_budget else ", over the budget"
        found = f"score {trial.score:.4f}, {costs}{place}, {trial.seconds:.0f} s"
    else:
        found = f"failed: {trial.error}"
    console.print(f"[{trial.number + 1}/{count}] {params}: {found}", highlight=False, markup=False, soft_wrap=True)


def show_result(console: Console, trials: Sequence[Trial], goal: Goal, space: Space) -> None:
    """Print the front and the best trial within the budget, with the command that runs it."""
    best, front = standing(trials)
    failed = sum(trial.status != FINISHED for trial in trials)
    if not front:
        console.print(f"all {failed} trials have failed; the first: {trials[0].error}", markup=False, soft_wrap=True)
        return
    console.print(_front_table([trials[number] for number in front], goal, best))
    console.print(_last_line(trials, goal, space, best), highlight=False, markup=False, soft_wrap=True)
    if failed:
        console.print(f"{failed} of {len(trials)} trials have failed", highlight=False)


def _front_table(front: Sequence[Trial], goal: Goal, best: int | None) -> Table:
    table = Table(title=f"What no other trial beats in score and {goal.cost}", title_justify="left")
    for name in ("trial", *front[0].params, "score", *goal.needed, "seconds", ""):
        table.add_column(name, justify="right" if name else "left")
    for trial in front:
        costs = (f"{trial.costs[name]:.3f}" for name in goal.needed)
        note = "best" if goal.limited is not None and trial.number == best else ""
        values = map(str, trial.params.values())
        table.add_row(f"{trial.number}", *values, f"{trial.score:.4f}", *costs, f"{trial.seconds:.0f}", note)
    return table


def _last_line(trials: Sequence[Trial], goal: Goal, space: Space, best: int | None) -> str:
    budget = "" if goal.limited is None else f" with {goal.limited} at most {goal.at_most:g}"
    if best is None:
        nearest = min((trial for trial in trials if trial.costs), key=lambda trial: goal.excess(trial.costs))
        assert goal.limited is not None
        reached = f"trial {nearest.number} comes nearest with {nearest.costs[goal.limited]:.3f}"
        return f"no trial{budget}; {reached}"
    trial = trials[best]
    command = shlex.join(["python", "-m", "run", *space.words(trial.params)])
    return f"best{budget}: trial {best}, score {trial.score:.4f}: {command}"
