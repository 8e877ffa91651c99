import dataclasses
from pathlib import Path

import pytest
from task_files import TASK_FILES, files, load_task, tiny_task, write, write_parquet

from light_peft.config import DataConfig, HubData, TaskConfig
from light_peft.data.formats import format_names
from light_peft.data.locate import hub_splits, split_files, validation_files
from light_peft.tasks.splits import Splits, load_splits

TASK = tiny_task()
TRAIN = "sentence\tlabel\n" + "".join(f"train {i}\t{i % 2}\n" for i in range(20))
DEV = "sentence\tlabel\n" + "".join(f"dev {i}\t{i % 2}\n" for i in range(10))


def load(data: DataConfig, *, task: TaskConfig = TASK, train: bool = True, seed: int = 1) -> Splits:
    return load_splits(task, data, seed=seed, work_dir=Path("unused"), train=train)


def official(tmp_path: Path, folder: str = "glue/Tiny") -> DataConfig:
    write(tmp_path / folder / "train.tsv", TRAIN)
    write(tmp_path / folder / "dev.tsv", DEV)
    return DataConfig(dir=str(tmp_path))


SERVED = "cola sst2 mrpc stsb qnli qqp rte wnli boolq cb copa multirc record rte_sg wic wsc axb axg"
TASKS = f"{SERVED} demo mnli squad squad_v2 openbookqa piqa arc_easy arc_challenge sciq webqs"
"""Those whose server takes a file of a name of its own, and the others."""


def test_there_is_a_file_for_each_task_and_each_is_a_valid_task() -> None:
    names = [path.stem for path in TASK_FILES]
    assert names == sorted(TASKS.split())
    assert len(names) == 28
    for name, path in zip(names, TASK_FILES, strict=True):
        task = load_task(name)
        assert task.name == name
        assert path.read_text().startswith("# ")
        assert task.primary_metric in task.metrics
        assert 1 <= len(task.text) <= 2
        assert bool(task.labels) == (task.formulation == "classification")
        assert not task.hub.path or list(hub_splits(task)) == list(split_files(task))
        assert set(task.official.rename.values()) <= {*task.text, task.label}
        assert task.format in format_names()
        assert task.max_length <= 384
        assert name == "demo" or (task.submission.file != "predictions") == (name in SERVED.split())
    assert list(validation_files(load_task("mnli"))) == ["matched", "mismatched"]


def test_official_release(tmp_path: Path) -> None:
    splits = load(official(tmp_path))
    assert splits.train is not None
    assert splits.train.column_names == ["sentence", "label"]
    assert splits.train[3] == {"sentence": "train 3", "label": 1}
    assert list(splits.validation) == ["validation"]
    assert splits.validation["validation"]["sentence"][:] == [f"dev {i}" for i in range(10)]
    assert splits.sources["train"] == str(tmp_path / "glue/Tiny/train.tsv")
    assert set(splits.digests) == {"train", "validation"}


def test_validation_alone_needs_no_train_file(tmp_path: Path) -> None:
    data = official(tmp_path)
    whole = load(data)
    (tmp_path / "glue/Tiny/train.tsv").unlink()
    alone = load(data, train=False)
    assert alone.train is None
    assert alone.digests == {"validation": whole.digests["validation"]}


def test_sampling_is_seeded_nested_and_ordered(tmp_path: Path) -> None:
    data = dataclasses.replace(official(tmp_path), max_train_samples=8, max_eval_samples=3)
    one, again, other = load(data), load(data), load(data, seed=2)
    assert one.train is not None
    assert one.digests == again.digests
    assert one.digests["train"] != other.digests["train"]
    assert one.digests["validation"] == other.digests["validation"]
    assert one.validation["validation"]["sentence"][:] == ["dev 0", "dev 1", "dev 2"]
    fewer = load(dataclasses.replace(data, max_train_samples=4)).train
    assert fewer is not None
    sample = one.train["sentence"][:]
    assert len(sample) == 8
    assert set(fewer["sentence"][:]) < set(sample)
    assert sample == sorted(sample, key=lambda text: int(text.split()[1]))
    assert len(load(dataclasses.replace(data, max_train_samples=99)).train or []) == 20


def test_files_replace_splits_and_mix_formats(tmp_path: Path) -> None:
    data = official(tmp_path)
    own = write(tmp_path / "own.jsonl", '{"sentence": "mine", "label": "yes"}\n')
    data.files.train = str(own)
    splits = load(data)
    assert splits.train is not None
    assert splits.train[:] == {"sentence": ["mine"], "label": [1]}
    assert splits.sources == {"train": str(own), "validation": str(tmp_path / "glue/Tiny/dev.tsv")}
    assert load(files(own, own)).sources == {"train": str(own), "validation": str(own)}
    assert load(files(validation=own), train=False).sources == {"validation": str(own)}


def test_the_hub_layout_gives_the_rows_of_the_official_release(tmp_path: Path) -> None:
    task = dataclasses.replace(TASK, hub=HubData(path="owner/suite", name="tiny"))
    shards = [range(12), range(12, 20)]
    for number, shard in enumerate(shards):
        columns = {"sentence": [f"train {i}" for i in shard], "label": [i % 2 for i in shard]}
        name = f"owner/suite/tiny/train-{number:05}-of-00002.parquet"
        write_parquet(tmp_path / "h" / name, columns, ["no", "yes"])
    columns = {"sentence": [f"dev {i}" for i in range(10)], "label": [i % 2 for i in range(10)]}
    write_parquet(tmp_path / "h/owner/suite/tiny/validation-00000-of-00001.parquet", columns, ["no", "yes"])
    hub = load(DataConfig(dir=str(tmp_path / "h")), task=task)
    assert hub.digests == load(official(tmp_path / "o"), task=task).digests
    (tmp_path / "h/owner/suite/tiny/train-00001-of-00002.parquet").unlink()
    with pytest.raises(ValueError, match="is one of 2 shards, but 1 are in its folder"):
        load(DataConfig(dir=str(tmp_path / "h")), task=task)


def test_hub_layout_without_configuration_lies_in_data(tmp_path: Path) -> None:
    task = dataclasses.replace(TASK, hub=HubData(path="owner/single"))
    for split in ("train", "validation"):
        path = tmp_path / f"owner/single/data/{split}-00000-of-00001.parquet"
        write_parquet(path, {"sentence": ["x"], "label": [1]}, ["no", "yes"])
    assert list(load(DataConfig(dir=str(tmp_path)), task=task).sources) == ["train", "validation"]


def test_two_layouts_are_refused(tmp_path: Path) -> None:
    task = dataclasses.replace(TASK, hub=HubData(path="owner/suite", name="tiny"))
    data = official(tmp_path)
    path = tmp_path / "owner/suite/tiny/validation-00000-of-00001.parquet"
    write_parquet(path, {"sentence": ["x"], "label": [1]}, ["no", "yes"])
    for present in ("dev.tsv", "train.tsv"):
        with pytest.raises(
            ValueError, match=rf"in several layouts.*{present}.*{path.name}.*data\.files\.train="
        ) as info:
            load(data, task=task)
        assert "train-*.parquet" in str(info.value)
        (tmp_path / "glue/Tiny/dev.tsv").unlink(missing_ok=True)


def test_missing_splits_are_told_with_every_path(tmp_path: Path) -> None:
    task = dataclasses.replace(TASK, hub=HubData(path="owner/suite", name="tiny"))
    with pytest.raises(ValueError, match=r"no train and no validation split") as info:
        load(DataConfig(dir=str(tmp_path)), task=task)
    for part in ("glue/Tiny/train.tsv", "glue/Tiny/dev.tsv", "suite/tiny/train-*.parquet", "tiny/validation-*.parquet"):
        assert part in str(info.value)
    write(tmp_path / "glue/Tiny/dev.tsv", DEV)
    with pytest.raises(ValueError, match=r"no train split, looked at .*data\.files\.train="):
        load(DataConfig(dir=str(tmp_path)), task=task)
    with pytest.raises(ValueError, match=r"data\.dir is not set"):
        load(DataConfig(source="local"))
    with pytest.raises(ValueError, match=r"data\.files\.train is nowhere\.tsv, which is not a file"):
        load(files(train=Path("nowhere.tsv")))


def test_a_secondary_validation_split_may_be_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = {"matched": "dev_matched.tsv", "mismatched": "dev_mismatched.tsv"}
    task = tiny_task(validation=names)
    for file in ("train.tsv", "dev_matched.tsv", "dev_mismatched.tsv"):
        write(tmp_path / "glue/Tiny" / file, DEV)
    data = DataConfig(dir=str(tmp_path))
    assert list(load(data, task=task).validation) == ["matched", "mismatched"]
    (tmp_path / "glue/Tiny/dev_mismatched.tsv").unlink()
    assert list(load(data, task=task).validation) == ["matched"]
    assert "no mismatched split at" in caplog.text
    (tmp_path / "glue/Tiny/dev_matched.tsv").unlink()
    with pytest.raises(ValueError, match="no matched split"):
        load(data, task=task)
    data.files.validation = str(write(tmp_path / "own.tsv", DEV))
    assert list(load(data, task=task).validation) == ["matched"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", r"the train split is empty"),
        ("x\t-1\n", r"own\.tsv, line 2: label is '?-1'?, a hidden test label"),
        ("x\tmaybe\n", r"own\.tsv, line 2: label is 'maybe', must be one of: no, yes"),
    ],
)
def test_bad_rows(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(files(write(tmp_path / "own.tsv", f"sentence\tlabel\n{rows}"), write(tmp_path / "dev.tsv", DEV)))


def test_text_must_be_text(tmp_path: Path) -> None:
    own = write(tmp_path / "own.jsonl", '{"sentence": "", "label": 1}\n{"sentence": null, "label": 1}\n')
    with pytest.raises(ValueError, match=r"own\.jsonl, line 2: sentence is None, must be a string"):
        load(files(own, own))


def test_settings_are_checked(tmp_path: Path) -> None:
    data = official(tmp_path)
    with pytest.raises(ValueError, match=r"data\.source is 'locl', .*did you mean local\?"):
        load(dataclasses.replace(data, source="locl"))
    with pytest.raises(ValueError, match=r"data\.max_eval_samples is 0, must be at least 1"):
        load(dataclasses.replace(data, max_eval_samples=0))
    with pytest.raises(ValueError, match=r"generator is 'dmo', .*did you mean demo\?"):
        load(DataConfig(), task=tiny_task(generator="dmo"))
    other = HubData(path="o/n", validation={"a": "b"})
    task = dataclasses.replace(tiny_task(validation={"validation": "dev.tsv"}), hub=other)
    with pytest.raises(ValueError, match=r"hub\.validation names a, official\.validation names validation"):
        load(data, task=task)


HEADER = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n"


def msr(numbers: range) -> str:
    return HEADER + "".join(f'{i % 2}\t{i}\t{i + 1}\tone "{i}\ttwo {i}\r\n' for i in numbers)


def test_mrpc_release_is_split_by_its_dev_ids(tmp_path: Path) -> None:
    folder = tmp_path / "glue/MRPC"
    write(folder / "msr_paraphrase_train.txt.bak", "")
    write(folder / "msr_paraphrase_test.txt", msr(range(900, 950)))
    data, task = DataConfig(dir=str(tmp_path)), load_task("mrpc")
    with pytest.raises(ValueError, match="no train and no validation split"):
        load(data, task=task)
    write(folder / "msr_paraphrase_train.txt", msr(range(10)))
    write(folder / "dev_ids.tsv", "3\t4\n7\t8\n")
    splits = load(data, task=task)
    assert splits.train is not None
    assert splits.validation["validation"]["sentence1"][:] == ['one "3', 'one "7']
    assert splits.train["sentence2"][:] == [f"two {i}" for i in range(10) if i not in (3, 7)]
    write(folder / "dev_ids.tsv", "3\t4\n7\t9\n")
    with pytest.raises(ValueError, match=r"names 1 pairs that .* has not, such as \('7', '9'\)"):
        load(data, task=task)


def test_mrpc_release_without_dev_ids_holds_out_408_rows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "glue/MRPC/msr_paraphrase_train.txt", msr(range(1000)))
    data, task = DataConfig(dir=str(tmp_path)), load_task("mrpc")
    splits = load(data, task=task)
    assert splits.train is not None
    assert "408 rows" in caplog.text
    train, dev = set(splits.train["sentence1"]), set(splits.validation["validation"]["sentence1"])
    assert (len(train), len(dev), len(train | dev)) == (592, 408, 1000)
    assert load(data, task=task, train=False).digests["validation"] == splits.digests["validation"]
    write(tmp_path / "glue/MRPC/train.tsv", msr(range(5)))
    with pytest.raises(ValueError, match="no validation split"):
        load(data, task=task)
