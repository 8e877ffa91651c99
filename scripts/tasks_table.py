"""Every task as one table: rows, metric, the trivial baseline, and the scores of a short run (docs/tasks.md).

    python -m run -m experiment=tasks 'task=glob(*)' prune=none,light_peft data.dir=DATA hydra.sweep.dir=SWEEP
    python scripts/tasks_table.py SWEEP ... > table.md

The trivial baseline is the one answer to everything that is best on the training split: a class, the mean figure, the
most frequent text. For a choice it is the expected score of a guess. It is computed from the files that the run read.
"""

import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import datasets
import numpy as np

from light_peft.artifacts import RECORD, RunRecord
from light_peft.config import Config, TaskConfig, config_from_dict
from light_peft.evaluation.metrics import compute_metrics
from light_peft.tasks.formulation import GROUP, LABEL, Answers
from light_peft.tasks.splits import Splits, load_splits

HEADER = (
    *("task", "model", "rows read: train / validation", "metric", "trivial", "plain LoRA", "Light-PEFT", "blocks kept"),
    "seconds",
)


def main(folders: Sequence[str]) -> None:
    """Print the table of the runs below the folders."""
    records = [RunRecord.read(path.parent) for folder in folders for path in sorted(Path(folder).rglob(RECORD))]
    rows = [HEADER, ("---",) * len(HEADER)]
    groups: dict[tuple[str, str], dict[str, RunRecord]] = {}
    for record in records:
        groups.setdefault((record.task, record.model), {})[record.config["prune"]["method"]] = record
    rows += [row_of(found) for _, found in sorted(groups.items())]
    sys.stdout.write("\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n")


def row_of(found: dict[str, RunRecord]) -> tuple[str, ...]:
    """Return the row of a task and model from its runs by pruning method."""
    any_record = next(iter(found.values()))
    plain, pruned = found.get("none"), found.get("light_peft")
    config = config_from_dict(any_record.config)
    rows = any_record.data.get("rows", {})
    validation = ", ".join(f"{number:,}" for name, number in rows.items() if name != "train")
    kept = pruned.parameters if pruned and pruned.status == "finished" else None
    return (
        any_record.task,
        any_record.model,
        f"{rows.get('train', 0):,} / {validation}",
        any_record.primary_metric,
        f"{100 * trivial(config):.1f}",
        score(plain),
        score(pruned),
        f"{kept['blocks_after'] / kept['blocks_before']:.0%}" if kept else "-",
        " / ".join(f"{record.totals['seconds']:.0f}" for record in (plain, pruned) if record),
    )


def score(record: RunRecord | None) -> str:
    """Return the score per 100, or what became of the run."""
    if record is None:
        return "-"
    return f"{100 * record.score:.1f}" if record.score is not None else f"failed: {record.error}"


def trivial(config: Config) -> float:
    """Return the primary metric of the trivial baseline on the first validation split."""
    with tempfile.TemporaryDirectory() as folder:
        splits = load_splits(config.task, config.data, seed=config.seed, work_dir=Path(folder))
    validation = next(iter(splits.validation.values()))
    if config.task.formulation == "choice":
        return float(np.mean([len(set(row["right"])) / len(row["choices"]) for row in validation]))
    return max(constant_score(config.task, validation, answer) for answer in best_constants(config.task, splits))


def best_constants(task: TaskConfig, splits: Splits) -> list[object]:
    """Return the answers among which the best on the training split is sought; of texts and figures only one."""
    train = splits.train
    assert train is not None
    if task.formulation == "regression":
        return [float(np.mean(train[LABEL][:]))]
    if task.formulation == "classification":
        classes = range(len(task.labels))
        return [max(classes, key=lambda number: constant_score(task, train, number))]
    texts = Counter(text for accepted in train["answers"] for text in accepted[:1] or [""])
    return [texts.most_common(1)[0][0]]


def constant_score(task: TaskConfig, examples: datasets.Dataset, answer: object) -> float:
    """Return the primary metric of one answer to all examples."""
    columns = examples.column_names
    references = examples[LABEL][:] if LABEL in columns else examples["answers"][:]
    groups = examples[GROUP][:] if GROUP in columns else None
    return compute_metrics([task.primary_metric], Answers([answer] * len(examples), references, groups)).get(
        task.primary_metric, 0.0
    )


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1:])
