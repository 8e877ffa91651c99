from io import StringIO

from rich.console import Console

from light_peft.artifacts import RunRecord
from light_peft.report.progress import phase_progress
from light_peft.report.table import show_record


def record(**values: object) -> RunRecord:
    plan = {"heads": [3, 3], "heads_before": [4, 4], "ffn": [48, 37], "ffn_before": [64, 64]}
    plan |= {"ranks": {"a": 8, "b": 4}, "modules_before": 12, "ranks_before": 96}  # type: ignore[dict-item]
    parameters = {"total_before": 1_000_000, "total_after": 900_000, "blocks_before": 20_000, "blocks_after": 15_000}
    parameters |= {"trainable_before": 7_000, "trainable_after": 700}
    train = {"seconds": 2.0, "steps": 6, "examples": 96, "tokens": 12_345, "flops": 2 * 10**12}
    return RunRecord(
        **{  # type: ignore[arg-type]
            "status": "finished",
            "task": "rte",
            "model": "tiny",
            "peft": "lora",
            "seed": 7,
            "primary_metric": "accuracy",
            "score": 0.54321,
            "metrics": {"accuracy": 0.54321, "f1": 0.25},
            "parameters": parameters,
            "plan": plan,
            "phases": {
                "load": {"seconds": 1.5, "peak_memory_bytes": 2**29, "part_seconds": {"post_processing": 0.25}},
                "train": train | {"peak_memory_bytes": 2**30},
            },
            "totals": {"seconds": 3.5, "peak_memory_bytes": 2**30},
            **values,
        }
    )


def shown(what: RunRecord) -> list[str]:
    """Return the lines of the tables, one space between words."""
    said = StringIO()
    show_record(Console(file=said, width=120), what, "outputs/run")
    return [" ".join(line.replace("│", " ").split()) for line in said.getvalue().splitlines()]


def test_what_was_found_cut_and_spent() -> None:
    lines = shown(record())
    for expected in (
        *("rte · tiny · lora · seed 7", "score (accuracy) 0.5432", "f1 0.2500", "parameters 1,000,000 900,000 90.0%"),
        *("in transformer blocks 20,000 15,000 75.0%", "PEFT, trainable 7,000 700 10.0%"),
        *("attention heads 8 6 75.0%", "per layer 3 3", "FFN neurons 128 85 66.4%", "per layer 48 37"),
        *("PEFT modules 12 2 16.7%", "PEFT ranks 96 12 12.5%"),
        *("load 1.5 0.50 GiB", "train 2.0 6 48.0 12,345 2.00 1.00 GiB", "whole run 3.5 1.00 GiB"),
        "post-processing 0.2",
        "record: outputs/run/result.json",
    ):
        assert expected in lines


def test_full_fine_tuning_has_no_modules() -> None:
    plan = record().plan | {"ranks": {}, "modules_before": 0, "ranks_before": 0}
    assert not any(line.startswith("PEFT modules") for line in shown(record(plan=plan)))


def test_progress_shows_steps_and_loss() -> None:
    said = StringIO()
    with phase_progress(Console(file=said, width=120, force_terminal=True), "estimate", 4) as show:
        show(4, 0.12345)
    assert "estimate" in said.getvalue()
    assert "4/4" in said.getvalue()
    assert "loss 0.1235" in said.getvalue() or "loss 0.1234" in said.getvalue()
