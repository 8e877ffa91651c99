import csv
from pathlib import Path

import pytest
from task_files import REAL, files, load_task, write_parquet

from light_peft.config import DataConfig
from light_peft.tasks.splits import Splits, load_splits

GLUE = REAL / "glue"
pytestmark = pytest.mark.skipif(not GLUE.is_dir(), reason=f"no real GLUE files at {GLUE}")

ROWS = {
    "cola": (8551, 1043),
    "sst2": (67349, 872),
    "stsb": (5749, 1500),
    "rte": (2490, 277),
    "wnli": (635, 71),
}


def load(name: str, data: DataConfig) -> Splits:
    return load_splits(load_task(name), data, seed=1, work_dir=Path("unused"))


def sizes(splits: Splits) -> tuple[int, int]:
    assert splits.train is not None
    return len(splits.train), len(next(iter(splits.validation.values())))


@pytest.mark.parametrize("name", ROWS)
def test_whole_tasks(name: str) -> None:
    assert sizes(load(name, DataConfig(dir=str(REAL)))) == ROWS[name]


@pytest.mark.parametrize(
    ("name", "train", "dev", "rows"),
    [
        ("mnli", "MNLI/train_subset.tsv", "MNLI/dev_matched.tsv", (22641, 9815)),
        ("qnli", "QNLI/train_subset.tsv", "QNLI/dev.tsv", (9999, 5463)),
        ("qqp", "QQP/train_subset.tsv", "QQP/train_subset.tsv", (32868, 32868)),
    ],
)
def test_subsets_by_data_files(name: str, train: str, dev: str, rows: tuple[int, int]) -> None:
    assert sizes(load(name, files(GLUE / train, GLUE / dev))) == rows


def test_known_rows() -> None:
    cola = load("cola", DataConfig(dir=str(REAL))).validation["validation"]
    assert cola[0] == {"sentence": "The sailors rode the breeze clear of the rocks.", "label": 1}
    assert sum(cola["label"]) == 721
    mnli = load("mnli", files(GLUE / "MNLI/dev_matched.tsv", GLUE / "MNLI/dev_matched.tsv"))
    labels = mnli.validation["matched"]["label"][:]
    assert [labels.count(number) for number in range(3)] == [3479, 3123, 3213]
    assert list(mnli.validation) == ["matched"]


def test_missing_files_of_a_real_task_are_named() -> None:
    with pytest.raises(ValueError, match=r"no train split, looked at .*MNLI/train\.tsv"):
        load("mnli", DataConfig(dir=str(REAL)))


@pytest.mark.parametrize("name", ["rte", "stsb", "cola"])
def test_the_hub_layout_gives_identical_rows(name: str, tmp_path: Path) -> None:
    task = load_task(name)
    reference = load(name, DataConfig(dir=str(REAL)))
    for split, file in (("train", "train.tsv"), ("validation", "dev.tsv")):
        lines = (REAL / task.official.folder / file).read_text(encoding="utf-8").split("\n")
        rows = list(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
        header = task.official.header or rows.pop(0)
        columns = {task.official.rename.get(key, key): index for index, key in enumerate(header)}
        picked = {key: [row[columns[key]] for row in rows if row] for key in [*task.text, task.label]}
        numbers = {label: index for index, label in enumerate(task.labels)}
        picked["label"] = [float(x) if not task.labels else numbers.get(x, x) for x in picked["label"]]
        picked["label"] = [int(x) if task.labels else x for x in picked["label"]]
        write_parquet(tmp_path / f"nyu-mll/glue/{name}/{split}-00000-of-00001.parquet", picked, task.labels)
    copy = load(name, DataConfig(dir=str(tmp_path)))
    for split in ("train", "validation"):
        ours = copy.train if split == "train" else copy.validation["validation"]
        theirs = reference.train if split == "train" else reference.validation["validation"]
        assert ours is not None
        assert theirs is not None
        for column in task.text:
            assert ours[column][:] == theirs[column][:]
        assert ours["label"][:] == pytest.approx(theirs["label"][:], abs=1e-6)
    if task.labels:
        assert copy.digests == reference.digests
