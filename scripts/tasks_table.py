"""Every task as one table: source, rows, metric, the trivial baseline, and the scores of a short run (docs/tasks.md).

    python scripts/tasks_table.py RUNS ... data.dir=DATA

RUNS are folders of runs with prune=none and prune=light_peft; conf/experiment/tasks.yaml has the command. Rows are
those of the whole files below DATA. The trivial baseline is the one answer to everything that is best on the training
split: a class, the mean figure, the most frequent text; for a choice it is the share of right candidates, which is what
a guess gets. It is scored on the rows that the runs were scored on.
"""

import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np

from light_peft import door
from light_peft.artifacts import RECORD, RunRecord
from light_peft.config import Config, TaskConfig, config_from_dict
from light_peft.evaluation.metrics import compute_metrics
from light_peft.tasks.choice import CHOICES
from light_peft.tasks.formulation import GROUP, LABEL, Answers
from light_peft.tasks.gold import ANSWER_TEXT
from light_peft.tasks.splits import Splits, load_splits
from matrix import composed

TASKS = Path(__file__).parents[1] / "conf" / "task"
HEADER = (
    *("task", "source", "formulation", "rows: train, validation, test", "metric", "scored on", "trivial"),
    *("model", "steps x batch x tokens, rate", "plain LoRA", "Light-PEFT", "blocks kept", "seconds"),
)
Runs = dict[str, RunRecord]
"""The runs of a task and model by their pruning method."""


def main(folders: Sequence[str], overrides: Sequence[str]) -> None:
    """Print the table."""
    door.register()
    rows = [HEADER, ("---",) * len(HEADER)]
    found = runs_below(folders)
    for name in sorted(path.stem for path in TASKS.glob("*.yaml")):
        config = composed(f"task={name}", *overrides)
        models = {model: runs for (task, model), runs in found.items() if task == name}
        rows += [(*source_of(config), *scores_of(runs)) for runs in models.values()] or [
            (*source_of(config), *("-",) * 8)
        ]
    sys.stdout.write("\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n")


def runs_below(folders: Sequence[str]) -> dict[tuple[str, str], Runs]:
    """Return the runs by task and model."""
    found: dict[tuple[str, str], Runs] = {}
    for path in sorted(path for folder in folders for path in Path(folder).rglob(RECORD)):
        record = RunRecord.read(path.parent)
        found.setdefault((record.task, record.model), {})[record.config["prune"]["method"]] = record
    return found


def source_of(config: Config) -> tuple[str, ...]:
    """Return what a task is, and the rows of all its files if they are there."""
    task = config.task
    source = f"{task.hub.path or 'built in'} {task.hub.name or ''}".strip()
    try:
        splits = splits_of(replace(config.data, max_train_samples=None, max_eval_samples=None), task, test=True)
        parts = [[splits.train], splits.validation.values(), splits.test.values()]
        rows = ", ".join(" + ".join(f"{len(part):,}" for part in some if part is not None) or "-" for some in parts)
    except ValueError:
        rows = "not at hand"
    return task.name, source, task.formulation, rows, task.primary_metric


def scores_of(runs: Runs) -> tuple[str, ...]:
    """Return the scores per 100 of the runs of one task and model, and what they took."""
    some, plain, pruned = next(iter(runs.values())), runs.get("none"), runs.get("light_peft")
    config, scored = config_from_dict(some.config), [n for name, n in some.data["rows"].items() if name != "train"]
    kept = pruned.parameters if pruned is not None and pruned.status == "finished" else None
    steps = max((record.phases["train"].get("steps", 0) for record in runs.values()), default=0)
    return (
        f"{scored[0]:,}",
        f"{100 * trivial(config):.1f}",
        some.model,
        f"{steps} x {config.train.batch_size} x {config.max_length}, {config.train.learning_rate:g}",
        score(plain),
        score(pruned),
        f"{kept['blocks_after'] / kept['blocks_before']:.0%}" if kept else "-",
        " / ".join(f"{record.totals['seconds']:.0f}" for record in (plain, pruned) if record is not None),
    )


def score(record: RunRecord | None) -> str:
    """Return the score per 100, or what became of the run."""
    if record is None:
        return "-"
    return f"{100 * record.score:.1f}" if record.score is not None else f"failed: {record.error}"


def trivial(config: Config) -> float:
    """Return the primary metric of the trivial baseline on the first validation split."""
    task, splits = config.task, splits_of(config.data, config.task)
    assert splits.train is not None
    validation = next(iter(splits.validation.values()))
    if task.formulation == "choice":
        return float(np.mean([len(row[LABEL]) / len(row[CHOICES]) for row in validation]))
    return constant_score(task, validation, best_constant(task, splits.train))


def splits_of(data: object, task: TaskConfig, *, test: bool = False) -> Splits:
    """Return the splits of a task as a run reads them."""
    with tempfile.TemporaryDirectory() as folder:
        return load_splits(task, data, seed=42, work_dir=Path(folder), test=test)  # type: ignore[arg-type]


def best_constant(task: TaskConfig, train: datasets.Dataset) -> object:
    """Return the one answer that is best on the training split."""
    if task.formulation == "classification":
        return max(range(len(task.labels)), key=lambda number: constant_score(task, train, number))
    if task.formulation == "regression":
        return float(np.mean(train[LABEL][:]))
    texts = Counter(text for accepted in train[_answers(train)][:] for text in accepted[:1])
    return texts.most_common(1)[0][0]


def constant_score(task: TaskConfig, examples: datasets.Dataset, answer: object) -> float:
    """Return the primary metric of one answer to all examples; a correlation with a constant is 0."""
    groups = examples[GROUP][:] if GROUP in examples.column_names else None
    answers = Answers([answer] * len(examples), examples[_answers(examples)][:], groups)
    return compute_metrics([task.primary_metric], answers).get(task.primary_metric, 0.0)


def _answers(examples: datasets.Dataset) -> str:
    return ANSWER_TEXT if ANSWER_TEXT in examples.column_names else LABEL


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main([word for word in sys.argv[1:] if "=" not in word], [word for word in sys.argv[1:] if "=" in word])
