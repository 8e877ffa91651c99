"""Splits without labels, splits of another configuration, and the layouts that repositories on the hub have."""

import dataclasses
from pathlib import Path

import pytest
from task_files import columns_of, files, load_task, read, rows, tiny_task, write, write_objects, write_parquet

from light_peft.config import DataConfig, DataFiles, HubData, TaskConfig
from light_peft.data.load import read_tables
from light_peft.data.table import Table
from light_peft.tasks.splits import load_splits

LABELLED = "sentence\tlabel\nx\tyes\n"
HUB = HubData(path="owner/suite", name="tiny", test={"test": "test"})


def load(data: DataConfig, task: TaskConfig, *, test: bool = True) -> dict[str, Table]:
    return read_tables(task, data, columns_of(task), work_dir=Path("unused"), train=True, test=test)


def official(tmp_path: Path, test: str | None = "index\tsentence\n0\ty\n") -> DataConfig:
    for name, text in (("train", LABELLED), ("dev", LABELLED), ("test", test)):
        if text is not None:
            write(tmp_path / f"glue/Tiny/{name}.tsv", text)
    return DataConfig(dir=str(tmp_path))


def test_a_test_split_has_no_label_and_is_read_if_asked(tmp_path: Path) -> None:
    task, data = tiny_task(test={"test": "test.tsv"}), official(tmp_path)
    tables = load(data, task)
    assert list(tables) == ["train", "validation", "test"]
    assert tables["test"].columns == {"sentence": ["y"]}
    assert list(load(data, task, test=False)) == ["train", "validation"]


def test_a_missing_test_split_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    task = tiny_task(test={"test": "test.tsv"})
    assert list(load(official(tmp_path, test=None), task)) == ["train", "validation"]
    assert "no test split at" in caplog.text


def test_own_files_beside_the_task_s_test_split(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    task = dataclasses.replace(tiny_task(test={"test": "test.tsv"}), hub=HUB)
    own = write(tmp_path / "own.csv", "sentence,label\nmine,no\n")
    data = official(tmp_path)
    assert {
        split: rows(table)[0]["sentence"] for split, table in load(files(own, own, dir=data.dir), task).items()
    } == {
        "train": "mine",
        "validation": "mine",
        "test": "y",
    }
    assert list(load(files(own, own), task)) == ["train", "validation"]  # and the hub is not asked
    assert "no test split at nowhere: data.dir is not set, it is left out" in caplog.text
    assert list(load(files(own, own, dir=str(tmp_path / "empty")), task)) == ["train", "validation"]


def test_no_line_of_a_test_split_is_skipped(tmp_path: Path) -> None:
    task = tiny_task(test={"test": "test.tsv"}, malformed="skip")
    data = official(tmp_path, test="index\tsentence\n0\ty\nbroken\n2\tz\n")
    write(tmp_path / "glue/Tiny/train.tsv", f"{LABELLED}broken\n")
    assert len(load(data, task, test=False)["train"]) == 1
    with pytest.raises(ValueError, match=r"test\.tsv, line 3 has 1 columns, must have 2"):
        load(data, task)


def test_names_of_test_splits_are_checked(tmp_path: Path) -> None:
    both = dataclasses.replace(tiny_task(test={"blind": "test.tsv"}), hub=HUB)
    with pytest.raises(ValueError, match=r"hub\.test names test, official\.test names blind; they must be the same"):
        load(official(tmp_path), both)
    with pytest.raises(ValueError, match=r"validation names a test split and another; rename it"):
        load(official(tmp_path), tiny_task(test={"validation": "test.tsv"}))
    wrong = dataclasses.replace(tiny_task(), format="squadd")
    with pytest.raises(ValueError, match=r"task\.format is 'squadd', .*did you mean squad\?"):
        load(official(tmp_path), wrong)


def test_mrpc_release_has_a_test_file(tmp_path: Path) -> None:
    header = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
    lines = "".join(f"{i % 2}\t{i}\t{i + 1}\tone {i}\ttwo {i}\n" for i in range(4))
    for kind in ("train", "test"):
        write(tmp_path / f"glue/MRPC/msr_paraphrase_{kind}.txt", header + lines)
    write(tmp_path / "glue/MRPC/dev_ids.tsv", "3\t4\n")
    tables = read("mrpc", DataConfig(dir=str(tmp_path)), test=True)
    assert {split: len(table) for split, table in tables.items()} == {"train": 3, "validation": 1, "test": 4}
    assert set(tables["test"].columns) == {"sentence1", "sentence2"}


def sentence(path: Path, text: str) -> None:
    write_parquet(path, {"sentence": [text], "label": [1]}, ["no", "yes"])


@pytest.mark.parametrize("name", [None, "tiny"])
@pytest.mark.parametrize(
    "file",
    ["{}-00000-of-00001.parquet", "{}/0000.parquet", "{}.parquet", "tiny_{}.parquet"],
    ids=lambda file: str(file),
)
def test_layouts_of_repositories(tmp_path: Path, name: str | None, file: str) -> None:
    task = dataclasses.replace(tiny_task(), hub=dataclasses.replace(HUB, name=name))
    for folder in ["tiny"] if name else ["data", "default", "plain_text", "."]:
        root = tmp_path / folder.replace(".", "bare")
        for split in ("train", "validation", "test"):
            sentence(root / "owner/suite" / folder / file.format(split), split)
        tables = load(DataConfig(dir=str(root)), task)
        assert {split: rows(table)[0]["sentence"] for split, table in tables.items()} == {
            split: split for split in ("train", "validation", "test")
        }


def test_a_split_of_another_configuration(tmp_path: Path) -> None:
    task = dataclasses.replace(
        tiny_task(),
        hub=HubData(path="owner/suite", name="probe", train="tiny:train", validation={"validation": "test"}),
    )
    sentence(tmp_path / "owner/suite/tiny/train-00000-of-00001.parquet", "from tiny")
    sentence(tmp_path / "owner/suite/probe/test-00000-of-00001.parquet", "from probe")
    tables = load(DataConfig(dir=str(tmp_path)), task)
    assert {split: rows(table)[0]["sentence"] for split, table in tables.items()} == {
        "train": "from tiny",
        "validation": "from probe",
    }


def test_diagnostics_train_on_rte_in_both_layouts(tmp_path: Path) -> None:
    rte = [{"premise": "a", "hypothesis": "b", "label": "entailment", "idx": 0}]
    probe = [{"sentence1": "c", "sentence2": "d", "label": "not_entailment", "idx": "0", "logic": "Negation"}]
    write_objects(tmp_path / "o/superglue/RTE/train.jsonl", rte)
    write_objects(tmp_path / "o/superglue/AX-b/AX-b.jsonl", probe)
    texts = {"premise": ["a"], "hypothesis": ["b"], "idx": ["0"], "label": [0]}
    names = load_task("axb").labels
    write_parquet(tmp_path / "h/aps/super_glue/rte/train-00000-of-00001.parquet", texts, names)
    probed = {"sentence1": ["c"], "sentence2": ["d"], "idx": ["0"], "label": [1]}
    write_parquet(tmp_path / "h/aps/super_glue/axb/test-00000-of-00001.parquet", probed, names)
    for folder in ("o", "h"):
        tables = read("axb", DataConfig(dir=str(tmp_path / folder)), test=True)
        assert [{**row, "idx": str(row["idx"])} for table in tables.values() for row in rows(table)] == [
            {"premise": "a", "hypothesis": "b", "idx": "0", "label": "entailment"},
            {"premise": "c", "hypothesis": "d", "idx": "0", "label": "not_entailment"},
        ]


def test_own_tasks_need_no_code(tmp_path: Path) -> None:
    rte = dataclasses.replace(load_task("rte"), text=["a", "b"], label="c")
    train = write_objects(tmp_path / "my.jsonl", [{"a": "x", "b": "y", "c": "entailment", "more": 1}])
    dev = write(tmp_path / "dev.csv", "c,b,a\n1,q,p\n")
    tables = load(files(train, dev), rte)
    assert rows(tables["train"]) == [{"a": "x", "b": "y", "c": "entailment"}]
    assert rows(tables["validation"]) == [{"a": "p", "b": "q", "c": "1"}]
    piqa = load_task("piqa")
    choice = dataclasses.replace(piqa, choice=dataclasses.replace(piqa.choice, columns=["one", "two"]))
    own = write(tmp_path / "own.tsv", "goal\tone\ttwo\tlabel\ng\ta\tb\t1\n")
    assert rows(load(files(own, own), choice)["train"]) == [{"goal": "g", "one": "a", "two": "b", "label": "1"}]


def test_a_test_file_of_ones_own(tmp_path: Path) -> None:
    labelled = write(tmp_path / "train.jsonl", '{"sentence": "good", "label": "yes"}\n')
    hidden = write(tmp_path / "blind.jsonl", '{"sentence": "who knows"}\n')
    data = DataConfig(files=DataFiles(str(labelled), str(labelled), str(hidden)))
    splits = load_splits(tiny_task(), data, seed=1, work_dir=tmp_path, test=True)
    assert {name: examples.to_dict() for name, examples in splits.test.items()} == {"test": {"sentence": ["who knows"]}}
    assert load_splits(tiny_task(), data, seed=1, work_dir=tmp_path).test == {}
