"""The search itself: ask for a setting, run it, tell what it was worth."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from light_peft.artifacts import RunRecord
from light_peft.search.goal import Goal
from light_peft.search.sampler import Sampler
from light_peft.search.space import Space, Value
from light_peft.search.trials import Trial
from light_peft.sweeps.cells import BROKEN, FINISHED, Failure, key_of

Words = tuple[str, ...]
Run = Callable[[Words], RunRecord | Failure]
"""Runs the cell of these words, or says how it has failed."""
OnTrial = Callable[[list[Trial]], None]
"""Called behind each trial with all so far."""
NOT_OF_PLAIN = ("prune", "label")
"""Keys that plain PEFT is run without."""


@dataclass(frozen=True)
class Search:
    """What is looked for, and where.

    Attributes:
        space: The words, with their ranges.
        goal: What a setting is worth.
        seeds: One run of each setting for each; without any, one run with the seed of the words.
        run: Runs a cell.
    """

    space: Space
    goal: Goal
    seeds: Sequence[int]
    run: Run

    def go(self, sampler: Sampler, count: int, before: Sequence[Trial], on_trial: OnTrial) -> list[Trial]:
        """Try settings until there are `count` trials, those of `before` among them; return all.

        What was tried before is told to the sampler as it stands in the records; a trial that had failed may be run
        again.

        Raises:
            ValueError: If plain PEFT has failed and the costs are relative to it.
        """
        plain = self._plain() if self.goal.needs_plain else []
        trials: list[Trial] = []
        for number in range(max(count, len(before))):
            params = sampler.ask(before[number].params if number < len(before) else None)
            trials.append(self._try(number, params, plain))
            sampler.tell(trials[-1])
            on_trial(trials)
        return trials

    def _plain(self) -> list[RunRecord]:
        """Return the records of plain PEFT with the same words, each range left at its default."""
        own = [word for word in self.space.fixed if word.split("=", 1)[0].split(".")[0] not in NOT_OF_PLAIN]
        records = []
        for words in self._cells((*own, "prune=none")):
            found = self.run(words)
            if isinstance(found, Failure):
                needed = ", ".join(self.goal.needed)
                raise ValueError(f"plain PEFT, which {needed} is relative to, has failed: {found.error}")
            records.append(found)
        return records

    def _try(self, number: int, params: dict[str, Value], plain: Sequence[RunRecord]) -> Trial:
        """Run a setting with each seed, up to the first that fails."""
        cells = self._cells(self.space.words(params))
        keys, records = [key_of(words) for words in cells], []
        for words in cells:
            found = self.run(words)
            if isinstance(found, Failure):
                error = found.error.splitlines()[0] if found.error else "no message"
                return Trial(number, params, keys, BROKEN, code=found.code, error=error)
            records.append(found)
        costs = self.goal.costs(records, plain)
        return Trial(
            number,
            params,
            keys,
            FINISHED,
            score=statistics.mean(_score(record) for record in records),
            cost=costs[self.goal.cost],
            costs=costs,
            seconds=sum(record.totals["seconds"] for record in records),
            within_budget=self.goal.excess(costs) <= 0,
        )

    def _cells(self, words: Words) -> list[Words]:
        return [(*words, f"seed={seed}") for seed in self.seeds] or [words]


def _score(record: RunRecord) -> float:
    assert record.score is not None, "a finished run has a score"
    return record.score
