"""What the runs of a sweep ran on and with which code and data; and what of it makes them hard to compare."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from light_peft.artifacts import RunRecord, read_json
from light_peft.sweeps.cells import FINISHED, SWEEP, Cell

SHORT = 12
"""Digits of a checksum or commit that are shown."""
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Provenance:
    """Where the figures of a sweep come from, each distinct thing once, as texts for people.

    Attributes:
        machines: Processor, GPU, threads, precision, processes.
        versions: Of Python and of the packages.
        commits: Of the code, and whether the checkout had changes.
        models: Name, and where the weights came from.
        data: Of each task the rows used, and the checksums of the examples.
        commands: The commands of the sweeps.
        estimation: How many estimations were made, how many taken over from other runs, and what they cost.
        warnings: What the runs do not have in common although a comparison needs it.
    """

    machines: tuple[str, ...]
    versions: tuple[str, ...]
    commits: tuple[str, ...]
    models: tuple[str, ...]
    data: tuple[str, ...]
    commands: tuple[str, ...]
    estimation: str
    warnings: tuple[str, ...]


def provenance_of(cells: Sequence[Cell]) -> Provenance:
    """Return where the figures of the finished cells come from, and the commands of all."""
    records = [cell.record for cell in cells if cell.record is not None and cell.status == FINISHED]
    machines, versions = _distinct(records, _machine), _distinct(records, _versions)
    commits = _distinct(records, _commit)
    warnings = [
        f"The runs are of {len(found)} different {what}; {but}."
        for found, what, but in (
            (machines, "machines or settings of them", "their times and memory cannot be compared"),
            (versions, "sets of package versions", "scores and times may differ for that alone"),
            (commits, "states of the code", "scores and times may differ for that alone"),
        )
        if len(found) > 1
    ]
    return Provenance(
        machines=machines,
        versions=versions,
        commits=commits,
        models=_distinct(records, _model),
        data=tuple(_data(task, group) for task, group in _by_task(records).items()),
        commands=_commands(cells),
        estimation=_estimation(records),
        warnings=(*warnings, *_data_warnings(records)),
    )


def _distinct(records: Iterable[RunRecord], text: Callable[[RunRecord], str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(text, records)))


def _machine(record: RunRecord) -> str:
    hardware = record.hardware
    threads, processes = hardware.get("threads", UNKNOWN), hardware.get("processes", 1)
    ending = "" if threads == 1 else "s"
    parts = [hardware.get("gpu"), hardware.get("processor"), f"{threads} thread{ending}", hardware.get("precision")]
    parts += [f"{processes} processes" if processes != 1 else None, hardware.get("platform")]
    return ", ".join(str(part) for part in parts if part)


def _versions(record: RunRecord) -> str:
    return ", ".join(f"{name} {version}" for name, version in record.versions.items()) or UNKNOWN


def _commit(record: RunRecord) -> str:
    commit = record.git.get("commit")
    changed = " with uncommitted changes" if record.git.get("dirty") else ""
    return f"{str(commit)[:SHORT]}{changed}" if commit else "outside a git checkout"


def _model(record: RunRecord) -> str:
    source = record.base.get("source")
    return f"{record.model} from {source}" if source else record.model


def _by_task(records: Iterable[RunRecord]) -> dict[str, list[RunRecord]]:
    found: dict[str, list[RunRecord]] = {}
    for record in records:
        found.setdefault(record.task, []).append(record)
    return found


def _digests(record: RunRecord) -> dict[str, str]:
    return dict(record.data.get("digests", {}))


def _data(task: str, records: Sequence[RunRecord]) -> str:
    """Return the rows and checksums of a task's splits; training examples may be drawn anew by each seed."""
    splits = []
    for name in dict.fromkeys(name for record in records for name in record.data.get("rows", {})):
        rows = dict.fromkeys(record.data.get("rows", {}).get(name) for record in records)
        counts = " or ".join(f"{count:,}" for count in rows if count is not None)
        digests = dict.fromkeys(digest[:SHORT] for record in records if (digest := _digests(record).get(name)))
        sums = f"sha256 {next(iter(digests))}" if len(digests) == 1 else f"{len(digests)} samples"
        splits.append(f"{name} {counts} rows" + (f" ({sums})" if digests else ""))
    return f"{task}: {', '.join(splits) or UNKNOWN}"


def _data_warnings(records: Sequence[RunRecord]) -> list[str]:
    """Return which splits of a task are not the same in all of its runs; training examples only within a seed."""
    seen: dict[tuple[Any, ...], set[str]] = {}
    for record in records:
        for name, digest in _digests(record).items():
            place = (record.task, name, record.seed if name.startswith("train") else None)
            seen.setdefault(place, set()).add(digest)
    return [
        f"{task}: the {name} examples{'' if seed is None else f' of seed {seed}'} are not the same in all runs."
        for (task, name, seed), digests in seen.items()
        if len(digests) > 1
    ]


def _commands(cells: Iterable[Cell]) -> tuple[str, ...]:
    """Return the commands that the sweeps around the cells were called by."""
    sweeps = dict.fromkeys(cell.folder.parent / SWEEP for cell in cells if cell.folder is not None)
    return tuple(
        dict.fromkeys(command for path in sweeps if path.exists() for command in read_json(path).get("commands", ()))
    )


def _estimation(records: Iterable[RunRecord]) -> str:
    """Return what the estimations cost: what was spent on them, and what the runs are charged with."""
    made = reused = 0
    spent = charged = 0.0
    for record in records:
        seconds = float(record.phases.get("estimate", {}).get("seconds", 0.0))
        if not seconds:
            continue
        is_reused = bool(record.estimation.get("reused"))
        made, reused, charged = made + (not is_reused), reused + is_reused, charged + seconds
        spent += float(record.estimation.get("spent", 0.0 if is_reused else seconds))
    if not made + reused:
        return ""
    return f"{made} made, {reused} taken over from another run; {spent:,.0f} s spent, {charged:,.0f} s charged"
