"""Runs that differ only in what is cut share one estimation, and find what they would find by themselves."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from light_peft import artifacts, estimates
from light_peft.artifacts import RunRecord
from light_peft.asked import check_config
from light_peft.config import Config, config_from_dict
from light_peft.opening import lock_folder
from light_peft.settings import NOT_COMPARED
from run_cases import composed, killed_run, left_behind, whole_run

MOMENTS = ("prune.criterion=mask", "prune.refit=true", "prune.compensate_bias=true", "estimate.check_every=1")
SETTLED = ("estimate.stop=settled", "estimate.check_every=1", "estimate.patience=2", "estimate.tolerance=0.01")
COUNTING = """
task.name task.formulation task.format task.text task.prompt task.label task.labels task.idx task.group task.max_length
task.choice.columns task.choice.names task.choice.keys task.choice.by task.choice.length_norm task.choice.max_train
task.span.no_answer task.span.stride task.span.max_answer_tokens task.span.n_best task.span.hold_out
task.generation.max_new_tokens
task.hub.path task.hub.name task.hub.revision task.hub.train task.hub.validation task.hub.test
task.official.folder task.official.train task.official.validation task.official.test task.official.header
task.official.rename task.official.malformed task.official.label_file task.official.generator
model.name model.path model.revision model.package model.sha256 model.random model.config model.dtype
model.tokenizer_package
peft.kind peft.r peft.alpha peft.dropout peft.targets peft.use_rslora peft.use_dora peft.placement peft.activation
peft.miss_init peft.miss_mini_r peft.init_r peft.tinit peft.tfinal peft.delta_t peft.virtual_tokens
prune.criterion prune.compensate_bias prune.refit
estimate.stop estimate.l1_attn estimate.l1_ffn estimate.mask_lr_factor estimate.ffn_mask_lr_factor
estimate.learning_rate estimate.warmup estimate.scheduler estimate.window estimate.rank_score
estimate.micro_batches estimate.gradient_checkpointing estimate.ratio_dropout
train.batch_size train.learning_rate train.weight_decay train.gradient_accumulation train.max_grad_norm
data.max_length data.padding data.max_train_samples
runtime.precision runtime.device runtime.processes runtime.sharding
seed
"""
"""Settings that make for another estimation. Whoever adds one: read on which side of the cut it is used."""


def is_reused(folder: Path) -> bool:
    """Return whether the run in `folder` has taken its estimation from another."""
    return bool(RunRecord.read(folder).estimation["reused"])


def found_in(folder: Path) -> dict[str, Any]:
    """Return what a run in `folder` has left, but for whom its estimation is by."""
    left = left_behind(folder)
    del left["record"]["estimation"]
    return left


def without_checks(left: dict[str, Any]) -> dict[str, Any]:
    """Return what a run has left without its checks of what would be kept."""
    history = [entry for entry in left["record"]["history"] if "agreement" not in entry]
    return left | {"record": left["record"] | {"history": history}}


@pytest.mark.parametrize(
    ("words", "other"),
    [
        (MOMENTS, ("prune.target.blocks=0.6", "prune.attn_scope=global", "train.distill=0.5")),
        (("peft=bottleneck", *SETTLED), ("train.prefix_cache=eval", "train.scheduler=constant")),
    ],
)
def test_a_borrowed_estimation_is_ones_own(tmp_path: Path, words: tuple[str, ...], other: tuple[str, ...]) -> None:
    shared = f"estimate.reuse={tmp_path / 'shared'}"
    made, borrowed, alone = tmp_path / "made", tmp_path / "borrowed", tmp_path / "alone"
    whole_run(made, *words, shared)
    whole_run(borrowed, *words, *other, shared)
    whole_run(alone, *words, *other)
    assert (is_reused(made), is_reused(borrowed)) == (False, True)
    assert RunRecord.read(alone).estimation == {}, "without a sweep nothing is shared"
    expected = found_in(alone)
    if words is MOMENTS:  # another run's checks are of what it cuts
        assert expected != (expected := without_checks(expected))
    assert found_in(borrowed) == expected


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the estimation of the run beside it, `made`."""
    place = tmp_path_factory.mktemp("shared")
    whole_run(place / "made", f"estimate.reuse={place / 'estimates'}")
    return place


@pytest.fixture(scope="module")
def borrowed(shared: Path) -> Path:
    """The folder of a run that has waited for the estimation which it then took over."""
    (made,) = (shared / "estimates").iterdir()
    lock, waits = lock_folder(made), []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            lock.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimates, "sleep", sleep)
        whole_run(shared / "borrowed", f"estimate.reuse={shared / 'estimates'}", "prune.ffn=0.5")
    assert len(waits) == 3
    return shared / "borrowed"


def test_who_waits_says_so_once(borrowed: Path) -> None:
    assert (borrowed / artifacts.LOG).read_text(encoding="utf-8").count("waits for it") == 1


def test_the_record_says_whose_it_is_and_what_it_cost(shared: Path, borrowed: Path) -> None:
    made, record = RunRecord.read(shared / "made"), RunRecord.read(borrowed)
    (folder,) = (shared / "estimates").iterdir()
    own, taken = made.estimation, record.estimation
    assert (own["reused"], own["folder"], own["made_by"]) == (False, str(folder), str(shared / "made"))
    assert own["spent"] == own["seconds"] == made.phases["estimate"]["seconds"]
    assert (taken["reused"], taken["folder"], taken["made_by"]) == (True, str(folder), str(shared / "made"))
    assert taken["seconds"] == own["seconds"] > 0
    assert taken["spent"] > 0
    assert record.phases["estimate"]["seconds"] == taken["seconds"], "charged as if made here"
    assert record.totals["seconds"] == pytest.approx(sum(cost["seconds"] for cost in record.phases.values()))


def test_what_is_kept_is_small(shared: Path) -> None:
    """PEFT, the head, which is pooler and classifier, and masks: no optimizer, and nothing of the frozen model."""
    (state,) = (shared / "estimates").rglob("state.safetensors")
    own = ("lora_", "classifier", "pooler", "group_mask")
    assert not [name for name in artifacts.read_tensors(state) if not any(part in name for part in own)]


def test_a_run_that_is_left_behind_borrowing_goes_on(shared: Path, borrowed: Path, tmp_path: Path) -> None:
    words = (f"estimate.reuse={shared / 'estimates'}", "prune.ffn=0.5")
    for where in (("train", 1), ("train", 3)):
        killed_run(tmp_path / "run", where, *words)
    whole_run(tmp_path / "run", *words)
    assert RunRecord.read(tmp_path / "run").resumed == [{"stage": "train", "step": 2}]
    assert is_reused(tmp_path / "run")
    assert found_in(tmp_path / "run") == found_in(borrowed)


def test_one_that_is_left_over_estimation_takes_what_another_has_made(tmp_path: Path, shared: Path) -> None:
    words = f"estimate.reuse={tmp_path / 'estimates'}"
    killed_run(tmp_path / "first", ("estimate", 3), words)
    whole_run(tmp_path / "second", words)
    whole_run(tmp_path / "first", words)
    first = RunRecord.read(tmp_path / "first")
    assert not is_reused(tmp_path / "second"), "nobody else was at it any more"
    assert first.estimation["made_by"] == str(tmp_path / "second")
    assert first.resumed == [{"stage": "estimate", "step": 2}]
    assert found_in(tmp_path / "first") == found_in(tmp_path / "second") == found_in(shared / "made")


def test_one_that_goes_on_with_its_estimation_lets_others_have_it(tmp_path: Path, shared: Path) -> None:
    words = f"estimate.reuse={tmp_path / 'estimates'}"
    for where in (("estimate", 3), ("train", 1)):
        killed_run(tmp_path / "first", where, words)
    for name in ("second", "first"):
        whole_run(tmp_path / name, words)
    assert (is_reused(tmp_path / "second"), is_reused(tmp_path / "first")) == (True, False)
    assert found_in(tmp_path / "first") == found_in(tmp_path / "second") == found_in(shared / "made")


def test_a_damaged_estimation_is_made_again(tmp_path: Path, shared: Path) -> None:
    shutil.copytree(shared / "estimates", tmp_path / "estimates")
    (state,) = (tmp_path / "estimates").rglob("state.safetensors")
    state.write_bytes(state.read_bytes()[:-1] + b"?")
    for name in ("second", "third"):
        whole_run(tmp_path / name, f"estimate.reuse={tmp_path / 'estimates'}")
    assert [is_reused(tmp_path / name) for name in ("second", "third")] == [False, True]
    assert found_in(tmp_path / "third") == found_in(tmp_path / "second") == found_in(shared / "made")
    log = (tmp_path / "second" / artifacts.LOG).read_text(encoding="utf-8")
    assert "state.safetensors has changed since it was written" in log


@pytest.mark.parametrize(
    ("words", "expected"),
    [((), False), (('estimate.reuse="off"',), False), (("estimate.reuse=./X",), True)],
)
def test_where_estimations_are_shared(words: tuple[str, ...], expected: bool) -> None:
    assert estimates.is_shared(changed(*words)) == expected
    assert not estimates.is_shared(changed(*words, "prune.method=none"))


@pytest.mark.parametrize("word", ["of", "False", "none"])
def test_a_word_that_is_no_folder_is_a_mistake(word: str) -> None:
    expected = rf"^estimate\.reuse={word}: must be auto, off or a folder; a new one here is \./{word}$"
    with pytest.raises(ValueError, match=expected):
        check_config(changed(f"estimate.reuse='{word}'"))


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match=r"^estimate\.reuse=.*file: estimations cannot be kept there \(Not a dir"):
        whole_run(tmp_path / "run", f"estimate.reuse={tmp_path / 'file'}")


@cache
def smoke() -> dict[str, Any]:
    """Return the settings of the smallest run."""
    return asdict(composed("debug=smoke"))


def changed(*words: str) -> Config:
    """Return the configuration of the smallest run with these values."""
    return config_from_dict(smoke(), OmegaConf.to_container(OmegaConf.from_dotlist([*words])))  # type: ignore[arg-type]


def facts(*words: str, **of_record: dict[str, Any]) -> dict[str, Any]:
    """Return what the estimation of a run with these words, and this in its record, depends on."""
    record = RunRecord(
        hardware={"gpu": "", "precision": "fp32", "processes": 1, "threads": 1, "platform": "Linux 1"},
        versions={"torch": "2"},
        git={"commit": "abc", "dirty": False},
        data={"digests": {"train": "1", "validation": "2"}},
    )
    for name, values in of_record.items():
        setattr(record, name, getattr(record, name) | values)
    config = changed(*words)
    return estimates.depends_on(config, record, round(config.estimate.steps), "origin")


def flat_keys(schema: type, prefix: str = "") -> Iterator[str]:
    """Yield the dotted key of every setting."""
    for entry in fields(schema):
        inner = entry.default_factory
        if isinstance(inner, type) and is_dataclass(inner):
            yield from flat_keys(inner, f"{prefix}{entry.name}.")
        else:
            yield prefix + entry.name


@pytest.mark.parametrize("stop", ["steps", "settled"])
def test_every_setting_is_on_one_side(stop: str) -> None:
    """A new one counts until somebody has looked: it must be named here, or in one of the lists there."""
    left_out = (*NOT_COMPARED, *estimates.WITHOUT_INFLUENCE, *estimates.AS_FACTS)
    of_the_cut = (*estimates.OF_THE_STOP, *estimates.OF_THE_CUT)
    keys = set(flat_keys(Config))
    below = {name: {key for key in keys if f"{key}.".startswith(f"{name}.")} for name in (*left_out, *of_the_cut)}
    assert not [name for name, found in below.items() if not found], "names of no setting"
    without = set().union(*(below[name] for name in left_out))
    behind = set().union(*(below[name] for name in of_the_cut))
    assert sorted(keys - without - behind) == sorted(COUNTING.split())
    counting = set(COUNTING.split()) | (behind if stop == "settled" else set())
    counted = set(facts(f"estimate.stop={stop}")["settings"])
    assert counted == {key for key in counted if any(f"{key}.".startswith(f"{name}.") for name in counting)}
    assert {key for key in counting if not any(f"{name}.".startswith(f"{key}.") for name in counted)} == set()


@pytest.mark.parametrize(
    "change",
    [
        "seed=7",
        "estimate.steps=4",
        "train.batch_size=8",
        "train.learning_rate=1e-4",
        "prune.criterion=fisher",
        "prune.refit=true",
        "data.max_train_samples=40",
        "peft.r=4",
        "estimate.micro_batches=2",
        "runtime.precision=bf16",
        "estimate.stop=settled",
    ],
)
def test_what_an_estimation_depends_on_makes_another(change: str) -> None:
    assert facts(change) != facts("estimate.steps=5")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("hardware", {"threads": 2}),
        ("hardware", {"precision": "bf16"}),
        ("versions", {"torch": "3"}),
        ("data", {"digests": {"train": "3", "validation": "2"}}),
    ],
)
def test_so_do_the_machine_and_the_examples(name: str, values: dict[str, Any]) -> None:
    assert facts(**{name: values}) != facts()


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("hardware", {"platform": "Linux 2"}),
        ("git", {"commit": "def"}),
        ("data", {"digests": {"train": "1", "validation": "3"}}),
    ],
)
def test_other_facts_do_not(name: str, values: dict[str, Any]) -> None:
    assert facts(**{name: values}) == facts()


def test_the_code_counts_but_for_what_runs_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def digest() -> str:
        estimates.code_sha256.cache_clear()
        return estimates.code_sha256()

    monkeypatch.setattr(estimates, "__file__", str(tmp_path / "estimates.py"))
    (tmp_path / "report").mkdir()
    digests = []
    for name in ("keeping.py", "report/html.py", "phases.py"):
        (tmp_path / name).write_text(name, encoding="utf-8")
        digests.append(digest())
    monkeypatch.undo()
    estimates.code_sha256.cache_clear()
    assert digests[0] == digests[1] != digests[2]


def test_one_that_ends_by_itself_depends_on_what_would_be_cut() -> None:
    settled = "estimate.stop=settled"
    assert facts(settled, "prune.ffn=0.9") != facts(settled)
    assert facts(settled, "estimate.patience=9") != facts(settled)
    assert facts("prune.ffn=0.9", "estimate.patience=9") == facts()


def test_the_rate_of_training_counts_where_estimation_has_none_of_its_own() -> None:
    own = "estimate.learning_rate=1e-3"
    assert facts(own, "train.learning_rate=1e-4") == facts(own)


def test_what_is_said_to_be_without_influence_has_none(shared: Path, tmp_path: Path) -> None:
    """One run that differs in all of it finds the same scores to the bit."""
    words = (
        *("train.max_steps=null", "train.epochs=1", "train.warmup=2", "train.scheduler=cosine", "train.distill=0.3"),
        *("train.distill_temperature=3", "train.eval_batch_size=5", "train.micro_batches=2"),
        *("train.gradient_checkpointing=true", "data.max_eval_samples=8", "data.cache_dir=off", "prune.ffn=0.7"),
        *("prune.attn_scope=global", "prune.module_depth=1", "prune.round_to=4", "prune.merge_cut_peft=true"),
        *("prune.compare=signed", "estimate.check_every=2", "estimate.patience=1", "checkpoint.steps=null"),
    )
    whole_run(tmp_path / "run", *words)
    one, other = (artifacts.read_tensors(folder / artifacts.SCORES) for folder in (shared / "made", tmp_path / "run"))
    assert artifacts.tensors_sha256(one) == artifacts.tensors_sha256(other)
    (settings,) = (shared / "estimates").rglob(estimates.SETTINGS)
    config = changed(*words)
    own = RunRecord.read(tmp_path / "run")
    known = json.loads(settings.read_text(encoding="utf-8"))
    found = estimates.depends_on(config, own, 5, known["model"])
    assert {name: found[name] for name in ("steps", "data", "machine", "versions", "code")} == {
        name: known[name] for name in ("steps", "data", "machine", "versions", "code")
    }
