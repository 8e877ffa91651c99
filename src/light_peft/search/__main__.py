"""`python -m light_peft.search FOLDER ... WORD ...`: search over shares for the best score under a budget."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from light_peft import door
from light_peft.artifacts import RunRecord
from light_peft.imports import uncollected
from light_peft.interrupts import Interrupted, Interrupts
from light_peft.opening import lock_folder
from light_peft.search.goal import COSTS, Goal
from light_peft.search.loop import Search, Words
from light_peft.search.runner import CellRunner
from light_peft.search.sampler import SAMPLERS, Sampler
from light_peft.search.show import show_result, show_trial
from light_peft.search.space import Space
from light_peft.search.trials import Asked, Trial, TrialFile
from light_peft.search.words import composed, read_space, telling
from light_peft.sweeps.cells import FINISHED, Failure

EPILOG = """ranges: prune.ffn=interval(0.1,0.7) train.learning_rate='tag(log,interval(1e-4,1e-2))'
prune.peft_module=range(0,0.9,0.1) prune.criterion=choice(mask,taylor); see docs/search.md"""


@dataclass(frozen=True)
class Command:
    """The command line, read."""

    folder: Path
    trials: int
    space: Space
    asked: Asked
    text: str


def main(words: Sequence[str] | None = None) -> int:
    """Search; return 0, or the exit code of what went wrong, see `door`; if all trials fail, the highest of theirs."""
    words = sys.argv[1:] if words is None else words
    door.register()
    codes = [0]
    return door.guarded(lambda: codes.append(_search(_read(words), Console(stderr=True)))) or codes[-1]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m light_peft.search",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("folder", type=Path, metavar="FOLDER", help="folder of the search; called again with the same words it goes on")
    add("words", nargs="*", metavar="WORD", help="words of `python -m run`, some with a range instead of a value")
    add("--trials", type=int, default=20, metavar="N", help="settings to try, those of calls before included (20)")
    add("--budget", metavar="COST=SHARE", help=f"a limit; COST is one of {', '.join(COSTS)}")
    add("--cost", choices=tuple(COSTS), help="what shall be low besides a high score (that of the budget, else blocks)")
    add("--seeds", metavar="1,2,3", help="run each setting with each seed; the score is the mean")
    add("--sampler", choices=SAMPLERS, default=SAMPLERS[0], help=f"how settings are chosen ({SAMPLERS[0]})")
    add("--sampler-seed", type=int, default=0, metavar="N", help="seed of the sampler (0)")
    return parser


def _read(words: Sequence[str]) -> Command:
    """Return what was asked for.

    Raises:
        ValueError, hydra.errors.HydraException, omegaconf.errors.OmegaConfBaseException: If it cannot be done.
    """
    given = _parser().parse_intermixed_args(list(words))
    if "=" in given.folder.name:
        raise ValueError(f"{given.folder}: a word where the folder of the search must stand")
    if given.trials < 1:
        raise ValueError(f"--trials {given.trials}: must be 1 or more")
    seeds = _seeds(given.seeds)
    space = read_space(given.words)
    if seeds and any(word.startswith("seed=") for word in space.fixed):
        raise ValueError(f"--seeds {given.seeds}: the words give a seed, too; leave one of them away")
    ranges = {one.key: one.text for one in space.dimensions}
    asked = Asked(
        telling(space.fixed), ranges, seeds, _goal(given.cost, given.budget), given.sampler, given.sampler_seed
    )
    text = shlex.join(["python", "-m", "light_peft.search", *words])
    return Command(given.folder, given.trials, space, asked, text)


def _goal(cost: str | None, budget: str | None) -> Goal:
    if budget is None:
        return Goal(cost or "blocks")
    name, _, number = budget.partition("=")
    try:
        at_most = float(number)
    except ValueError:
        at_most = -1.0
    if name not in COSTS or not 0 < at_most < float("inf"):
        raise ValueError(f"--budget {budget}: must be COST=SHARE, COST one of {', '.join(COSTS)} and SHARE above 0")
    return Goal(cost or name, name, at_most)


def _seeds(text: str | None) -> list[int]:
    if text is None:
        return []
    numbers = text.split(",")
    if not all(number.isdecimal() for number in numbers) or len(set(numbers)) < len(numbers):
        raise ValueError(f"--seeds {text}: must be different whole numbers with commas between, such as 1,2,3")
    return list(map(int, numbers))


def _search(command: Command, console: Console) -> int:
    """Search, and say what was found; return the exit code."""
    asked = command.asked
    sampler = Sampler(command.space, asked.goal, asked.sampler, asked.sampler_seed)
    _check(command.space)
    command.folder.mkdir(parents=True, exist_ok=True)
    lock = lock_folder(command.folder)
    try:
        file = TrialFile(command.folder, asked, command.text)
        metrics: list[str] = []
        runner = partial(_run, CellRunner(command.folder, command.text), metrics, console)
        search = Search(command.space, asked.goal, asked.seeds, runner)
        count = max(command.trials, len(file.before))

        def on_trial(trials: list[Trial]) -> None:
            file.write(trials, metrics[-1] if metrics else None)
            show_trial(console, trials[-1], count, asked.goal)

        with Interrupts():
            trials = search.go(sampler, count, file.before, on_trial)
    except (Interrupted, KeyboardInterrupt) as error:
        error.__notes__ = ["the same command goes on with the search"]
        raise
    finally:
        lock.close()
    show_result(console, trials, asked.goal, command.space)
    console.print(f"all trials: {file.path}", highlight=False, markup=False, soft_wrap=True)
    is_done = any(trial.status == FINISHED for trial in trials)
    return 0 if is_done else max(trial.code for trial in trials)


def _run(runner: CellRunner, metrics: list[str], console: Console, words: Words) -> RunRecord | Failure:
    """Run a cell, and note the name of the metric that its score is of."""
    with console.status(escape(" ".join(words))):
        found = runner(words)
    if isinstance(found, RunRecord):
        metrics.append(found.primary_metric)
    return found


def _check(space: Space) -> None:
    """Look at the ends of all ranges before anything is run.

    Raises:
        ValueError, hydra.errors.HydraException, omegaconf.errors.OmegaConfBaseException: If a run would refuse them.
    """
    with uncollected():
        from light_peft.asked import check_config

    for params in space.corners():
        check_config(composed(space.words(params)))


if __name__ == "__main__":
    sys.exit(main())
