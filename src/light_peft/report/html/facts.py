"""What was run and on what: tasks and data, models, machines, versions, commits, commands."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from light_peft.artifacts import RunRecord, read_json
from light_peft.report.html.entries import Column, Entry, Table
from light_peft.sweeps.cells import SWEEP

SHORT = 12
"""Digits of a hash that are shown; the whole one is its hint."""


class Fact(NamedTuple):
    """Something that should be the same in all runs.

    Attributes:
        title: What it is.
        values: All that were found, with the number of runs of each.
        differs: Whether that they differ makes figures hard to compare.
    """

    title: str
    values: list[str]
    differs: bool


def facts_of(records: Sequence[RunRecord]) -> list[Fact]:
    """Return what the runs ran on."""
    return [
        _fact("Models", (_model(record) for record in records), may_differ=True),
        _fact("Hardware", (_hardware(record.hardware) for record in records)),
        _fact("Commit", (_commit(record.git) for record in records)),
        _fact("Versions", (_versions(record.versions) for record in records)),
    ]


def data_of(records: Sequence[RunRecord]) -> Table:
    """Return the table of data: each split of each task as it was used."""
    rows: dict[tuple[str, str, str], list[Entry]] = {}
    for record in records:
        data = record.data
        for split, count in data.get("rows", {}).items():
            digest, source = str(data.get("digests", {}).get(split, "")), str(data.get("sources", {}).get(split, ""))
            both = data.get("duplicates", {}).get(split)
            rows.setdefault(
                (record.task, split, digest),
                [
                    Entry(record.task, record.task),
                    Entry(split, split),
                    Entry(f"{count:,}", repr(count)),
                    Entry("" if both is None else f"{both:,}", repr(both or 0)),
                    Entry(digest[:SHORT], digest, hint=f"sha256 of the examples used: {digest}"),
                    Entry(source, source),
                ],
            )
    columns = [Column("task", is_number=False), Column("split", is_number=False), Column("rows")]
    columns += [Column("also in training", hint="evaluation examples with the texts of a training example")]
    columns += [Column("sha256", is_number=False), Column("source", is_number=False)]
    return Table("Data as they were used", columns, list(rows.values()))


def commands_of(folders: Iterable[Path], records: Sequence[RunRecord]) -> list[str]:
    """Return the commands that asked for the sweeps at or below the folders; of a single run its own."""
    found = [str(command) for folder in folders for path in sorted(folder.rglob(SWEEP)) for command in _commands(path)]
    if not found and len(records) == 1 and records[0].words:
        found = [" ".join(["python -m run", *records[0].words])]
    return list(dict.fromkeys(found))


def _commands(path: Path) -> list[Any]:
    values = read_json(path)
    found = values.get("commands", []) if isinstance(values, dict) else []
    return found if isinstance(found, list) else []


def _fact(title: str, values: Iterable[str], *, may_differ: bool = False) -> Fact:
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    several = len(counts) > 1
    said: Callable[[str, int], str] = lambda value, count: f"{value} ({count} run{'s' * (count > 1)})"  # noqa: E731
    return Fact(title, [said(*item) if several else item[0] for item in counts.items()], several and not may_differ)


def _model(record: RunRecord) -> str:
    total = record.parameters.get("total_before")
    size = f", {total / 1e6:,.1f} M parameters with PEFT and head" if total else ""
    source = record.base.get("source")
    return f"{record.model}{size}" + (f", from {source}" if source else "")


def _hardware(hardware: dict[str, Any]) -> str:
    processor = hardware.get("gpu") or hardware.get("processor") or hardware.get("machine") or "not recorded"
    parts = [str(processor)]
    for name in ("threads", "processes"):
        if count := hardware.get(name):
            parts.append(f"{count} {name[:-2] if name == 'processes' and count == 1 else name}")
    return ", ".join([*parts, *filter(None, (hardware.get("precision"), hardware.get("platform")))])


def _commit(git: dict[str, Any]) -> str:
    if not git.get("commit"):
        return "not recorded"
    return f"{str(git['commit'])[:SHORT]}" + (" with uncommitted changes" if git.get("dirty") else "")


def _versions(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items()) or "not recorded"
