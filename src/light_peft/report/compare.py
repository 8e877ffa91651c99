"""From the records of a sweep to one table: each setting beside plain PEFT, over seeds."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from light_peft.artifacts import RECORD, RunRecord

Figure = Callable[[RunRecord], float]

HEADER = (
    *("task", "setting", "seeds", "score", "blocks kept", "PEFT trainables", "training examples/s", "step speed-up"),
    *("whole run, s", "whole-run time"),
)


@dataclass(frozen=True)
class Setting:
    """The runs that differ in nothing but the seed."""

    task: str
    name: str
    records: tuple[RunRecord, ...]

    @property
    def is_baseline(self) -> bool:
        """Whether this is plain PEFT."""
        return self.records[0].config["prune"]["method"] == "none"


def read_records(folders: Iterable[Path]) -> list[RunRecord]:
    """Return the finished records at or below the folders, in the order of their paths.

    Raises:
        ValueError: If there is none.
    """
    paths = [path for folder in folders for path in sorted(folder.rglob(RECORD))]
    records = [record for record in (RunRecord.read(path.parent) for path in paths) if record.status == "finished"]
    if not records:
        raise ValueError("no finished run found (a run folder holds result.json)")
    return records


def settings_of(records: Sequence[RunRecord]) -> list[Setting]:
    """Return the records grouped by task and setting; the baseline of a task comes first.

    A setting's name gives what was cut and, of all else, what differs between runs of the same name.
    """
    families: dict[tuple[str, str], list[RunRecord]] = {}
    for record in records:
        families.setdefault((record.task, setting_name(record)), []).append(record)
    settings = []
    for (task, name), family in families.items():
        groups: dict[str, list[RunRecord]] = {}
        differing = differing_keys(family)
        for record in family:
            values = flat(record.config)
            groups.setdefault(", ".join([name, *(f"{key}={values.get(key)}" for key in differing)]), []).append(record)
        settings += [Setting(task, full_name, tuple(group)) for full_name, group in groups.items()]
    return sorted(settings, key=lambda setting: (setting.task, not setting.is_baseline, setting.name))


def setting_name(record: RunRecord) -> str:
    """Return what was done in a few words."""
    prune = record.config["prune"]
    if prune["method"] == "none":
        return f"plain {record.peft}"
    # Records of before there were targets have none.
    asked = [f"{name} {value:g}" for name, value in prune.get("target", {}).items() if value is not None]
    shares = [f"{name} {prune[name]:.3g}" for name in ("attn", "ffn", "peft_module", "peft_rank")]
    if asked:
        return f"{record.peft}, cut to {asked[0]}, {', '.join(shares[2:])}"
    return f"{record.peft}, cut {', '.join(shares)}"


def differing_keys(records: Sequence[RunRecord]) -> list[str]:
    """Return the settings, seed and place left out, that are not the same in all of these runs."""
    seen: dict[str, set[str]] = {}
    for record in records:
        for key, value in flat(record.config).items():
            seen.setdefault(key, set()).add(repr(value))
    return sorted(key for key, values in seen.items() if len(values) > 1 and key not in ("seed", "run_dir"))


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values by dotted key."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def markdown(settings: Sequence[Setting]) -> str:
    """Return the comparison as a Markdown table: mean ± standard deviation over seeds, ratios paired by seed."""
    rows = [HEADER, ("---",) * len(HEADER)]
    baselines = {setting.task: setting for setting in reversed(settings) if setting.is_baseline}
    rows += [_row(setting, baselines.get(setting.task)) for setting in settings]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _row(setting: Setting, baseline: Setting | None) -> tuple[str, ...]:
    records = setting.records
    return (
        setting.task,
        setting.name,
        f"{len(records)}",
        f"{records[0].primary_metric} {spread([100 * float(record.score or 0) for record in records], 1)}",
        spread([100 * _kept(record, "blocks") for record in records], 1) + " %",
        f"{statistics.mean(record.parameters['trainable_after'] for record in records):,.0f}",
        spread([examples_per_second(record) for record in records], 0),
        _ratio(setting, baseline, examples_per_second),
        spread([record.totals["seconds"] for record in records], 0),
        _ratio(setting, baseline, lambda record: float(record.totals["seconds"])),
    )


def spread(values: Sequence[float], digits: int) -> str:
    """Return mean ± sample standard deviation; of one value just the value."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def examples_per_second(record: RunRecord) -> float:
    """Return the training phase's speed, evaluation left out."""
    return float(record.phases["train"]["examples"]) / float(record.phases["train"]["seconds"])


def _ratio(setting: Setting, baseline: Setting | None, figure: Figure) -> str:
    """Return this setting's figure over plain PEFT's, run by run of the same seed."""
    if baseline is None:
        return "-"
    plain = {record.seed: figure(record) for record in baseline.records}
    ratios = [figure(record) / plain[record.seed] for record in setting.records if record.seed in plain]
    return f"{spread(ratios, 2)}x" if ratios else "-"


def _kept(record: RunRecord, what: str) -> float:
    return record.parameters[f"{what}_after"] / record.parameters[f"{what}_before"]
