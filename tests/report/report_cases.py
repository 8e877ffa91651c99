"""Cells and records made by hand, for tables and reports."""

import shlex
from pathlib import Path
from typing import Any

from light_peft.artifacts import RunRecord
from light_peft.sweeps.cells import Cell, Failure, key_of

PLAIN = {"method": "none", "criterion": "taylor", "attn": 0.0, "ffn": 0.0, "peft_module": 0.0, "peft_rank": 0.0}
CUT = {"method": "light_peft", "criterion": "taylor", "attn": 1 / 3, "ffn": 0.4, "peft_module": 0.75, "peft_rank": 0.5}


def make_record(
    *,
    task: str = "rte",
    seed: int = 1,
    score: float | None = 0.8,
    seconds: float = 10.0,
    plain: bool = False,
    label: str | None = None,
    **values: Any,
) -> RunRecord:
    """Return the record of a run, by default finished: its training phase has taken half of its `seconds`.

    `values` are other fields of the record; `config` and `prune` are put over those made here.
    """
    kept = 1000 if plain else 600
    peft = str(values.pop("peft", "lora"))
    prune = (PLAIN if plain else CUT) | values.pop("prune", {})
    targets = ["query", "key", "value"] if peft == "lora" else []
    config = {"task": {"name": task}, "model": {"name": "tiny"}, "peft": {"kind": peft, "targets": targets}}
    config |= {"prune": prune}
    config |= {"seed": seed, "label": label, "run_dir": None} | values.pop("config", {})
    made: dict[str, Any] = {
        "status": "finished",
        "task": task,
        "model": "tiny",
        "peft": peft,
        "seed": seed,
        "config": config,
        "versions": {"python": "3.11.0", "torch": "2.13.0"},
        "hardware": {"processor": "a processor", "threads": 2, "gpu": "", "precision": "fp32", "processes": 1},
        "git": {"commit": "0123456789abcdef", "dirty": False},
        "data": {"rows": {"train": 320, "validation": 100}, "digests": {"train": "aa" * 32, "validation": "bb" * 32}},
        "primary_metric": "accuracy",
        "score": score,
        "metrics": {} if score is None else {"accuracy": score},
        "parameters": {
            **{"total_before": 2000, "total_after": 1000 + kept, "blocks_before": 1000, "blocks_after": kept},
            **{"trainable_before": 90, "trainable_after": kept // 10},
        },
        "phases": {
            "estimate": {"seconds": 0.0 if plain else seconds / 10},
            "train": {"seconds": seconds / 2, "steps": 10, "examples": 320},
            "evaluate": {"seconds": seconds / 5, "examples": 100, "part_seconds": {"inference": seconds / 10}},
        },
        "totals": {"seconds": seconds, "peak_memory_bytes": (200 if plain else 150) * 2**20},
    }
    return RunRecord(**(made | values))


def make_cell(record: RunRecord | None, words: str = "", *, folder: str = "", error: str = "") -> Cell:
    """Return a cell that was asked for by `words`; with `error` it has failed."""
    asked = tuple(shlex.split(words))
    place = Path(folder) if folder else None
    if record is not None and place is None:
        place = Path("sweep") / f"{record.task}-{record.seed}-{key_of(asked)}"
    failure = Failure(list(asked), error, 1, 1) if error else None
    return Cell(key_of(asked), asked, place, record, failure)
