"""The data that runs used: every split of every task, with its checksums."""

from collections.abc import Sequence

from light_peft.artifacts import RunRecord
from light_peft.report.html.entries import Column, Entry, Table
from light_peft.report.provenance import SHORT

SHOWN = 3
"""Checksums that one row shows: each seed may have drawn examples of its own."""


def data_of(records: Sequence[RunRecord]) -> Table:
    """Return the table of data, a row for each split of each task."""
    splits: dict[tuple[str, str], list[RunRecord]] = {}
    for record in records:
        for split in record.data.get("rows", {}):
            splits.setdefault((record.task, split), []).append(record)
    columns = [Column("task", is_number=False), Column("split", is_number=False), Column("rows")]
    columns += [Column("also in training", hint="evaluation examples with the texts of a training example")]
    columns += [Column("sha256 of the examples", is_number=False), Column("source", is_number=False)]
    return Table("Data as they were used", columns, [_row(*place, group) for place, group in splits.items()])


def _row(task: str, split: str, records: Sequence[RunRecord]) -> list[Entry]:
    counts = _distinct(records, "rows", split)
    twice, sources = _distinct(records, "duplicates", split), _distinct(records, "sources", split)
    digests = _distinct(records, "digests", split)
    shown = ", ".join(digest[:SHORT] for digest in digests[:SHOWN])
    return [
        Entry(task, task),
        Entry(split, split),
        Entry(" or ".join(f"{int(count):,}" for count in counts), counts[0]),
        Entry(" or ".join(twice), "".join(twice[:1])),
        Entry(shown, shown, note=_more(digests, SHOWN), hint="\n".join(digests)),
        Entry("".join(sources[:1]), "".join(sources[:1]), note=_more(sources, 1), hint="\n".join(sources)),
    ]


def _more(values: Sequence[str], shown: int) -> str:
    return f"and {len(values) - shown} more" if len(values) > shown else ""


def _distinct(records: Sequence[RunRecord], field: str, split: str) -> list[str]:
    """Return the values that a field of the records' data has for a split, each once, as text."""
    found = (record.data.get(field, {}).get(split) for record in records)
    return list(dict.fromkeys(str(value) for value in found if value is not None))
