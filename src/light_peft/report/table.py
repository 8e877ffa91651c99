"""The tables at the end of a run."""

from typing import Any

from rich.console import Console, Group
from rich.table import Table

from light_peft.artifacts import RunRecord


def show_record(console: Console, record: RunRecord, folder: object) -> None:
    """Print what a finished run found, cut and cost."""
    console.print(Group(_result_table(record), _cost_table(record)))
    console.print(f"record: {folder}/result.json", highlight=False)


def _result_table(record: RunRecord) -> Table:
    table = Table(title=f"{record.task} · {record.model} · {record.peft} · seed {record.seed}", title_justify="left")
    for column in ("", "before", "after", "kept"):
        table.add_column(column, justify="left" if not column else "right")
    table.add_row(f"score ({record.primary_metric})", "", f"{record.score:.4f}", "")
    for name, value in record.metrics.items():
        if name != record.primary_metric:
            table.add_row(name, "", f"{value:.4f}", "")
    counts, plan = record.parameters, record.plan
    _add_counts(table, "parameters", counts["total_before"], counts["total_after"])
    _add_counts(table, "  in transformer blocks", counts["blocks_before"], counts["blocks_after"])
    _add_counts(table, "  PEFT, trainable", counts["trainable_before"], counts["trainable_after"])
    for label, key in (("attention heads", "heads"), ("FFN neurons", "ffn")):
        _add_counts(table, label, sum(plan[f"{key}_before"]), sum(plan[key]))
        table.add_row("  per layer", "", " ".join(map(str, plan[key])), "")
    if plan["modules_before"]:
        _add_counts(table, "PEFT modules", plan["modules_before"], len(plan["ranks"]))
        _add_counts(table, "PEFT ranks", plan["ranks_before"], sum(plan["ranks"].values()))
    return table


def _add_counts(table: Table, label: str, before: int, after: int) -> None:
    table.add_row(label, f"{before:,}", f"{after:,}", f"{after / before:.1%}" if before else "")


def _cost_table(record: RunRecord) -> Table:
    table = Table(title="cost", title_justify="left")
    for column in ("phase", "seconds", "steps", "examples/s", "tokens", "TFLOP", "peak memory"):
        table.add_column(column, justify="left" if column == "phase" else "right")
    for name, phase in record.phases.items():
        if not phase["seconds"]:
            continue
        table.add_row(name, f"{phase['seconds']:.1f}", *_work(phase), _gib(phase["peak_memory_bytes"]))
        for part, seconds in phase.get("part_seconds", {}).items():
            table.add_row(f"  {part.replace('_', '-')}", f"{seconds:.1f}")
    totals = record.totals
    table.add_section()
    table.add_row("whole run", f"{totals['seconds']:.1f}", "", "", "", "", _gib(totals["peak_memory_bytes"]))
    return table


def _work(phase: dict[str, Any]) -> tuple[str, str, str, str]:
    if "steps" not in phase:
        return "", "", "", ""
    rate = phase["examples"] / max(phase["seconds"], 1e-9)
    flops = f"{phase['flops'] / 1e12:.2f}" if "flops" in phase else ""
    return f"{phase['steps']}", f"{rate:.1f}", f"{phase['tokens']:,}", flops


def _gib(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"
