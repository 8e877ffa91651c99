"""Every task through the command line, on miniatures of its official files and of the hub's."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from command_line import FAST, Outcome, command
from light_peft import artifacts, door
from light_peft.artifacts import RunRecord
from light_peft.config import config_from_dict
from light_peft.tasks.splits import Splits, load_splits
from miniature_files import Mini
from miniatures import MINIS

TINY = ("data.max_length=48", "task.span.stride=8", "task.generation.max_new_tokens=4", "task.choice.max_train=2")
WORDS = (*FAST, *TINY, "save.predictions=true", "data.cache_dir=off", "train.batch_size=4", "estimate.steps=2")
DECODED = ["copa", "record", "arc_easy", "openbookqa", "piqa", "sciq", "squad", "squad_v2", "webqs"]
RUNS = [(task, "tiny_bert") for task in MINIS if task != "webqs"] + [(task, "tiny_llama") for task in DECODED]
LAYOUTS = ["official", "hub"]
CASES = [(task, model, LAYOUTS[number % 2]) for number, (task, model) in enumerate(RUNS)]
"""Task, model, and the files that it is trained on; it is scored again on the other ones."""


def tsv(path: Path) -> dict[str, str]:
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    assert header == "index\tprediction"
    return dict(line.split("\t") for line in lines)


def objects(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def superglue(path: Path) -> dict[str, str]:
    return {str(entry["idx"]): str(entry["label"]) for entry in objects(path)}


def multirc(path: Path) -> dict[str, str]:
    return {
        f"{passage['idx']}-{question['idx']}-{answer['idx']}": str(answer["label"])
        for passage in objects(path)
        for question in passage["passage"]["questions"]
        for answer in question["answers"]
    }


def numbered(path: Path) -> dict[str, str]:
    return {str(number): line for number, line in enumerate(path.read_text().splitlines())}


def plain(path: Path) -> dict[str, str]:
    return {entry["id"]: str(entry["prediction"]) for entry in objects(path)}


READERS: dict[str, Callable[[Path], dict[str, str]]] = {
    "predictions.csv": lambda path: dict(csv.reader(path.read_text(encoding="utf-8").splitlines())),
    "predictions.lst": numbered,
    "predictions.json": lambda path: json.loads(path.read_text(encoding="utf-8")),
    "predictions.jsonl": plain,
    "MultiRC.jsonl": multirc,
}
"""File of predictions -> what reads it, for those that are neither GLUE's nor SuperGLUE's."""


def read_predictions(path: Path) -> dict[str, str]:
    """Return what a benchmark's server would read: what each example is called -> the answer."""
    read = READERS.get(path.name) or (tsv if path.suffix == ".tsv" else superglue)
    return read(path)


def assert_answered(folder: Path, mini: Mini) -> None:
    """Every split but that of training has an answer to each of its examples, and one that may be given."""
    for split, name in mini.predictions.items():
        found, asked = read_predictions(folder / artifacts.PREDICTIONS / split / name), mini.answers(split)
        assert list(found) == list(asked), split
        for example, allowed in asked.items():
            assert allowed is None or found[example] in allowed, (split, example, found[example])
    assert {path.name for path in (folder / artifacts.PREDICTIONS).iterdir()} == set(mini.predictions)


def predicted(folder: Path) -> dict[str, bytes]:
    """Return the content of all files of predictions."""
    root = folder / artifacts.PREDICTIONS
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def printed(outcome: Outcome) -> dict[str, tuple[str, str]]:
    """Return metric -> the figure now and the recorded one, as scoring a run again prints them."""
    return {name: (now, then) for name, now, then in re.findall(r"(\S+) +(\S+) +recorded (\S+)", outcome.output)}


def splits_of(record: RunRecord, root: Path, folder: Path) -> Splits:
    config = config_from_dict(record.config, {"data": {"dir": str(root)}})
    return load_splits(config.task, config.data, seed=config.seed, work_dir=folder, test=True)


def test_every_task_has_a_miniature() -> None:
    tasks = {path.stem for path in (door.conf_dir() / "task").glob("*.yaml")}
    assert tasks - {"demo"} == set(MINIS)


@pytest.mark.parametrize(("task", "model", "layout"), CASES, ids=lambda value: str(value))
def test_a_task_from_its_files_to_its_predictions(tmp_path: Path, task: str, model: str, layout: str) -> None:
    mini = MINIS[task]
    roots = {"official": mini.write_official(tmp_path / "official"), "hub": mini.write_hub(tmp_path / "hub")}
    here = roots.pop(layout)
    (other,) = roots.values()
    outcome = command(tmp_path, *WORDS, f"task={task}", f"model={model}", f"data.dir={here}", "run_dir=run")
    assert outcome.code == 0, outcome.output
    folder = tmp_path / "run"
    record = RunRecord.read(folder)
    assert record.status == "finished"
    assert_metrics(record, mini)
    assert_answered(folder, mini)
    assert splits_of(record, other, tmp_path).digests == record.data["digests"]
    written = predicted(folder)
    shutil.rmtree(folder / artifacts.PREDICTIONS)
    outcome = command(tmp_path, "evaluate=run", f"data.dir={other}", "save.predictions=true")
    assert outcome.code == 0, outcome.output
    figures = printed(outcome)
    assert set(figures) == set(record.metrics)
    assert all(now == then for now, then in figures.values()), figures
    assert predicted(folder) == written


def test_scoring_a_part_again_leaves_the_predictions_of_the_run_alone(tmp_path: Path) -> None:
    root = MINIS["cb"].write_official(tmp_path / "official")
    outcome = command(tmp_path, *WORDS, "task=cb", "model=tiny_bert", f"data.dir={root}", "run_dir=run")
    assert outcome.code == 0, outcome.output
    written = predicted(tmp_path / "run")
    outcome = command(tmp_path, "evaluate=run", "data.max_eval_samples=2")
    assert outcome.code == 0, outcome.output
    assert predicted(tmp_path / "run") == written != {}


def assert_metrics(record: RunRecord, mini: Mini) -> None:
    """The metrics are those of the task, for each validation split, and figures that they may have."""
    validation = [split for split in mini.predictions if not split.startswith("test")]
    names = record.config["task"]["metrics"]
    assert list(record.metrics) == [
        name if len(validation) == 1 else f"{split}/{name}" for split in validation for name in names
    ]
    signed = ("matthews_correlation", "pearson", "spearman")
    for name, figure in record.metrics.items():
        assert -1.0 * (name in signed) <= figure <= 1.0, (name, figure)
    assert record.score == record.metrics[str(record.primary_metric)]
