"""The kinds of bad inputs, and inputs of each by chance."""

from collections.abc import Callable

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis.strategies import SearchStrategy

from fuzz import contradictions, damage, files, models, objects, runs
from fuzz import settings as command_line
from fuzz.case import Case

KINDS: dict[str, Callable[[], SearchStrategy[Case]]] = {
    f"{module.__name__.rpartition('.')[2]}.{kind.__name__}": kind
    for module in (command_line, contradictions, files, damage, objects, models, runs)
    for kind in module.KINDS
}
"""Name -> what draws inputs."""


def draw(kind: str, count: int, number: int = 0) -> list[Case]:
    """Return at most `count` distinct inputs of a kind, the same ones for the same `number`."""
    found: dict[str, Case] = {}

    @seed(number)
    @settings(
        max_examples=4 * count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    @given(KINDS[kind]())
    def gather(case: Case) -> None:
        found.setdefault(f"{case.kind} {case.what}", case)

    gather()
    return list(found.values())[:count]
