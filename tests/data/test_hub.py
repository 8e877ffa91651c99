import dataclasses
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import datasets
import huggingface_hub
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, DatasetInfo, Features, Value
from datasets.arrow_writer import ArrowWriter
from datasets.splits import SplitDict, SplitInfo
from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from task_files import load_task, read, rows, write

import light_peft.hub
from light_peft.config import DataConfig
from light_peft.data import hub
from light_peft.tasks.splits import Splits, load_splits

RTE, MNLI = (replace(task, hub=replace(task.hub, revision=None)) for task in map(load_task, ("rte", "mnli")))
COMMIT = "a" * 40
FEATURES = Features({"sentence1": Value("string"), "sentence2": Value("string"), "label": ClassLabel(names=RTE.labels)})


def load(task: object = RTE, **data: object) -> Splits:
    return load_splits(task, DataConfig(**data), seed=1, work_dir=Path("unused"))  # type: ignore[arg-type]


@pytest.fixture
def silent_server() -> Iterator[str]:
    """A server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=8) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache"


def ask_at(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(light_peft.hub, "HfApi", lambda: HfApi(endpoint=endpoint))


ADVICE = r"cannot be had, no answer from the hub .*data\.dir=.*data\.files\.train=.*HF_HUB_OFFLINE=1"


def test_a_hub_that_refuses_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ask_at("http://127.0.0.1:9", monkeypatch)
    started = time.monotonic()
    with pytest.raises(ValueError, match=ADVICE):
        load()
    assert time.monotonic() - started < 5


def test_a_hub_that_never_answers_fails_within_the_deadline(
    silent_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert light_peft.hub.PROBE_SECONDS <= light_peft.hub.DEADLINE_SECONDS <= 12
    ask_at(silent_server, monkeypatch)
    monkeypatch.setattr(light_peft.hub, "DEADLINE_SECONDS", 1.0)
    started = time.monotonic()
    with pytest.raises(ValueError, match=ADVICE):
        load()
    assert time.monotonic() - started < 4


def fill_cache(cache: Path, commit: str) -> None:
    """Leave what `datasets` leaves of an earlier download of RTE."""
    folder = cache / "nyu-mll___glue" / "rte" / "0.0.0" / commit
    folder.mkdir(parents=True)
    splits = SplitDict(dataset_name="glue")
    for name in ("train", "validation"):
        with ArrowWriter(features=FEATURES, path=str(folder / f"glue-{name}.arrow")) as writer:
            writer.write({"sentence1": f"{name} one", "sentence2": "two", "label": 1})
            writer.finalize()
        splits.add(SplitInfo(name=name, num_examples=1, dataset_name="glue"))
    info = DatasetInfo(features=FEATURES, builder_name="parquet", dataset_name="glue", config_name="rte", splits=splits)
    info.version = datasets.Version("0.0.0")
    info.write_to_directory(str(folder))


def test_a_cached_copy_is_used_if_the_hub_does_not_answer(empty_cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill_cache(empty_cache, COMMIT)
    splits = load()
    assert splits.train is not None
    assert splits.train[:] == {"sentence1": ["train one"], "sentence2": ["two"], "label": [1]}
    assert splits.sources["validation"] == f"nyu-mll/glue/rte@{COMMIT}, split validation"
    task = dataclasses.replace(RTE, hub=dataclasses.replace(RTE.hub, revision="main"))
    assert load(task).digests == splits.digests
    assert "cannot check that cached nyu-mll/glue is revision main" in caplog.text
    task = dataclasses.replace(RTE, hub=dataclasses.replace(RTE.hub, revision="b" * 40))
    with pytest.raises(ValueError, match=ADVICE):
        load(task)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RevisionNotFoundError, r"task\.hub\.revision is None, which nyu-mll/glue on the hub has not"),
        (RepositoryNotFoundError, r"task\.hub\.path is nyu-mll/glue, which the hub has not"),
    ],
)
def test_an_unknown_address_is_told(error: type, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_probe", lambda _: error.__new__(error))
    with pytest.raises(ValueError, match=message):
        load()


def answer(splits: dict[str, Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(path: str, name: str | None, *, revision: str) -> DatasetDict:
        assert (path, revision) == ("nyu-mll/glue", COMMIT)
        return DatasetDict(splits)

    monkeypatch.setattr(hub, "_probe", lambda _: COMMIT)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)


def test_what_the_hub_gives_is_checked_like_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    good = Dataset.from_dict({"sentence1": ["x"], "sentence2": ["y"], "label": [0]}, features=FEATURES)
    hidden = Dataset.from_dict({"sentence1": ["x"], "sentence2": ["y"], "label": [-1]}, features=FEATURES)
    answer({"train": good, "validation": good, "test": hidden}, monkeypatch)
    assert list(load().sources) == ["train", "validation"]
    answer({"train": good, "validation": hidden}, monkeypatch)
    with pytest.raises(ValueError, match=r"split validation, row 1: label is -1, a hidden test label"):
        load()
    answer({"train": good.remove_columns("sentence2"), "validation": good}, monkeypatch)
    with pytest.raises(ValueError, match=r"split train has no column sentence2, its columns are: sentence1, label"):
        load()
    answer({"validation": good}, monkeypatch)
    with pytest.raises(ValueError, match="task rte: nyu-mll/glue on the hub has no split for train"):
        load()


def test_a_secondary_split_may_be_missing_and_classes_may_be_in_another_order(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    names = ["contradiction", "neutral", "entailment"]
    features = Features({"premise": Value("string"), "hypothesis": Value("string"), "label": ClassLabel(names=names)})
    rows = Dataset.from_dict({"premise": ["x"] * 3, "hypothesis": ["y"] * 3, "label": [0, 1, 2]}, features=features)
    answer({"train": rows, "validation_matched": rows}, monkeypatch)
    splits = load(MNLI)
    assert list(splits.validation) == ["matched"]
    assert splits.validation["matched"]["label"][:] == [2, 1, 0]
    assert "has no split for mismatched, it is left out" in caplog.text
    own = write(tmp_path / "own.tsv", "premise\thypothesis\tlabel\na\tb\tneutral\n")
    data = DataConfig()
    data.files.train = str(own)
    mixed = load_splits(MNLI, data, seed=1, work_dir=tmp_path)
    assert mixed.sources == {"train": str(own), "matched": f"nyu-mll/glue/mnli@{COMMIT}, split validation_matched"}


def test_configurations_test_splits_and_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["entailment", "not_entailment"]
    labels = {"label": ClassLabel(names=names), "idx": Value("int32")}
    premises = Features({"premise": Value("string"), "hypothesis": Value("string"), **labels})
    sentences = Features({"sentence1": Value("string"), "sentence2": Value("string"), **labels})
    rte = Dataset.from_dict({"premise": ["a"], "hypothesis": ["b"], "label": [1], "idx": [0]}, features=premises)
    axb = Dataset.from_dict({"sentence1": ["c"], "sentence2": ["d"], "label": [0], "idx": [5]}, features=sentences)
    hidden = {"question": ["q"], "choices": [{"text": ["x", "y"], "label": ["A", "B"]}], "answerKey": [""], "id": ["n"]}
    arc = Dataset.from_dict(hidden | {"answerKey": ["B"]})
    parts = {
        "rte": DatasetDict(train=rte),
        "axb": DatasetDict(test=axb),
        "ARC-Easy": DatasetDict(train=arc, validation=arc, test=Dataset.from_dict(hidden)),
    }
    asked = []

    def load_dataset(path: str, name: str, *, revision: str) -> DatasetDict:
        asked.append((path, name, revision))
        return parts[name]

    monkeypatch.setattr(hub, "_probe", lambda _: COMMIT)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    tables = read("axb", DataConfig())
    assert asked == [("aps/super_glue", "rte", COMMIT), ("aps/super_glue", "axb", COMMIT)]
    assert rows(tables["train"]) == [{"premise": "a", "hypothesis": "b", "idx": 0, "label": "not_entailment"}]
    assert rows(tables["validation"]) == [{"premise": "c", "hypothesis": "d", "idx": 5, "label": "entailment"}]
    assert tables["validation"].source == f"aps/super_glue/axb@{COMMIT}, split test"
    tables = read("arc_easy", DataConfig(), test=True)
    asked_for = {"question": "q", "choices": ["x", "y"], "id": "n"}
    assert [rows(table) for table in tables.values()] == [[asked_for | {"label": 1}]] * 2 + [[asked_for]]
    parts["ARC-Easy"] = DatasetDict(train=arc, validation=arc)
    assert list(read("arc_easy", DataConfig(), test=True)) == ["train", "validation"]
    parts["ARC-Easy"] = DatasetDict(train=arc, validation=arc.map(lambda _: {"answerKey": "C"}))
    with pytest.raises(ValueError, match=r"ARC-Easy@a+, split validation, row 1: answerKey is 'C', must be one of"):
        read("arc_easy", DataConfig())
