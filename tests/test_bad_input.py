"""What people get wrong: one message that says so, exit code 2, a record that says `failed`, nothing half-written."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from command_line import FAST, Outcome, command, tiny_files, write_pairs
from light_peft import artifacts
from light_peft.artifacts import RunRecord

LARGE = "1e30"
"""A learning rate at which the second loss is not finite."""
TWO_STEPS = ("estimate.steps=2", "train.max_steps=2", "estimate.warmup=0", "train.warmup=0", "runtime.precision=fp32")


def assert_refused(outcome: Outcome, expected: str) -> None:
    """The command ended with 2 and one message that matches."""
    assert outcome.code == 2, outcome.output
    assert re.search(expected, outcome.message), outcome.message
    assert "Traceback" not in outcome.output


def assert_failed(folder: Path, expected: str) -> RunRecord:
    """The run in `folder` has a record that says what was wrong, and nothing that looks like a result."""
    record = RunRecord.read(folder)
    assert record.status == "failed"
    assert re.search(expected, str(record.error)), record.error
    assert record.config["model"]["name"] == record.model
    names = {path.name for path in folder.rglob("*") if artifacts.CHECKPOINTS not in path.parts}
    assert not names & {artifacts.ADAPTER, artifacts.MODEL, artifacts.TOKENIZER, artifacts.CHECKSUMS}
    if "surgery" not in ran(record):
        assert not names & {artifacts.PLAN, artifacts.SCORES}
    assert not [name for name in names if name.endswith(".part") or name.startswith(".")]
    return record


def ran(record: RunRecord) -> list[str]:
    """Return the phases that took any time."""
    return [name for name, cost in record.phases.items() if cost["seconds"] > 0]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["task=mnlii"], r"^task=mnlii: unknown\. Did you mean mnli"),
        (["runtime.precision=fp16", "runtime.device=cpu"], r"^runtime\.precision=fp16 needs a GPU; on a CPU take bf16"),
        (["model=bert-base"], r"^model=bert-base: unknown\. Did you mean bert_base"),
        (["train.lr=0.1"], r"^train\.lr: unknown key\."),
        (
            ["prune.attn=1.5", "prune.ffn=-1"],
            r"prune\.attn=1\.5: a share .*\nprune\.ffn=-1: a share must be in \[0, 1\)",
        ),
        (
            ["prune.ffn=half"],
            "^Error merging override prune.ffn=half\nValue 'half' of type 'str' could not be converted",
        ),
        (["train.batch_size=2.5"], r"Value '2\.5' of type 'float' could not be converted to Integer"),
        (["estimate.steps=inf"], r"^estimate\.steps=inf: must be above 0, and finite"),
        (["data.dir=nowhere"], r"^data\.dir=nowhere: no such folder \(it must hold glue/ or nyu-mll/glue/\)"),
        (["data.padding=longest"], r"^data\.padding=longest: must be one of dynamic, max_length"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_refused_before_anything_begins(tmp_path: Path, words: list[str], expected: str) -> None:
    assert_refused(command(tmp_path, *FAST, *words), expected)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["prune.attn=0.99"], r"prune\.attn=0\.99 leaves 0 of 4 groups .* at most 0\.75 is possible here"),
        (["prune.ffn=0.999"], r"prune\.ffn=0\.999 leaves 0 of 128 groups for 2 layer\(s\)"),
        (["prune.peft_module=0.999"], r"prune\.peft_module=0\.999 would remove every PEFT module; lower it"),
        (["peft.targets=[quer]"], r"peft\.targets: unknown projection \['quer'\]; this model has \['query', "),
        (["model=bert_base", "model.path=nowhere"], r"model=bert_base: cannot load 'nowhere' \(.*model\.path=FOLDER"),
        (["model.tokenizer_package=nowhere"], r"model=tiny_bert: needs the Python package 'nowhere'; install it"),
        (["data.files.train=nowhere.tsv"], r"data\.files\.train is nowhere\.tsv, which is not a file"),
        (
            ["task=rte", "data.source=local", "data.files.train=null"],
            r"task rte: no train split, .*data\.dir is not set",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_refused_before_anything_is_measured(tmp_path: Path, words: list[str], expected: str) -> None:
    outcome = command(tmp_path, *FAST, *tiny_files(tmp_path), *words)
    assert_refused(outcome, f"^{expected}")
    (run_dir,) = outcome.run_dirs()
    record = assert_failed(run_dir, f"^ValueError: {expected}")
    assert set(ran(record)) <= {"load"}


HEADER = "sentence1\tsentence2\tlabel\n"
ROW = "a cat sat\tan animal sat\tentailment\n"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (f"{HEADER}{ROW}only one column\n{ROW}", r"bad\.tsv, line 3 has 1 columns, must have 3"),
        (f"{HEADER}{ROW}a\tb\tmaybe\n", r"bad\.tsv, line 3: label is 'maybe', must be one of: entailment, not_ent"),
        (f"{HEADER}a\tb\t-1\n", r"bad\.tsv, line 2: label is -1, a hidden test label"),
        (HEADER, r"task demo: the validation split is empty \(.*bad\.tsv\)"),
        ("", r"bad\.tsv is empty"),
        ("sentence1\tlabel\na\tentailment\n", r"bad\.tsv has no column sentence2, its columns are: sentence1, label"),
    ],
    ids=["malformed", "unknown label", "hidden label", "empty split", "empty file", "no column"],
)
def test_damaged_data(tmp_path: Path, content: str, expected: str) -> None:
    train, validation = write_pairs(tmp_path / "train.tsv"), tmp_path / "bad.tsv"
    validation.write_text(content, encoding="utf-8")
    outcome = command(tmp_path, *FAST, f"data.files.train={train}", f"data.files.validation={validation}")
    assert_refused(outcome, expected)
    assert ran(assert_failed(outcome.run_dirs()[0], expected)) == ["load"]


@pytest.mark.parametrize("phase", ["estimate", "train"])
def test_a_loss_that_is_no_number(tmp_path: Path, phase: str) -> None:
    rates = [f"train.learning_rate={LARGE}", f"estimate.learning_rate={LARGE if phase == 'estimate' else 1e-4}"]
    outcome = command(tmp_path, *FAST, *tiny_files(tmp_path), *rates, *TWO_STEPS)
    expected = rf"{phase}: the loss is not finite at step 2 of this phase; lower {phase}\.learning_rate"
    assert_refused(outcome, f"^{expected}")
    record = assert_failed(outcome.run_dirs()[0], expected)
    assert (ran(record)[-1], record.score) == (phase, None)


def test_a_folder_that_holds_something_already(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    assert_refused(command(tmp_path, *FAST, "run_dir=mine"), "^run_dir=mine: this folder is not empty; name a new one")
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "notes.txt"]


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    expected = r"^nowhere/result\.json does not exist; is nowhere the folder of a finished run\?"
    assert_refused(command(tmp_path, "evaluate=nowhere"), expected)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("finished")
    outcome = command(folder, *FAST, *tiny_files(folder), "run_dir=run")
    assert outcome.code == 0, outcome.output
    return folder / "run"


@pytest.fixture
def run_dir(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


@pytest.mark.parametrize(
    "name", ["result.json", "checksums.json", "plan.json", "adapter/adapter_model.safetensors", "model/config.json"]
)
def test_a_run_folder_that_lacks_a_file(run_dir: Path, tmp_path: Path, name: str) -> None:
    (run_dir / name).unlink()
    expected = rf"{name} missing|{name} does not exist; is .* the folder of a finished run\?"
    assert_refused(command(tmp_path, f"evaluate={run_dir}"), expected)


@pytest.mark.parametrize("name", ["adapter/adapter_model.safetensors", "model/model.safetensors", "scores.safetensors"])
def test_a_run_folder_with_a_flipped_byte(run_dir: Path, tmp_path: Path, name: str) -> None:
    content = bytearray((run_dir / name).read_bytes())
    content[-1] ^= 0xFF
    (run_dir / name).write_bytes(content)
    expected = rf"copy is damaged: {name} changed since the run wrote it \(sha256 differs\)"
    assert_refused(command(tmp_path, f"evaluate={run_dir}"), expected)


def test_a_record_that_is_cut_off(run_dir: Path, tmp_path: Path) -> None:
    (run_dir / "result.json").write_text('{"status": "finished", "err')
    assert_refused(command(tmp_path, f"evaluate={run_dir}"), r"result\.json is damaged: ")


def test_scoring_a_run_that_failed(tmp_path: Path) -> None:
    failed = command(tmp_path, *FAST, *tiny_files(tmp_path), "prune.attn=0.99").run_dirs()[0]
    expected = r"this run did not finish \(ValueError: prune\.attn=0\.99 leaves .*\); there is nothing to load"
    assert_refused(command(tmp_path, f"evaluate={failed}"), expected)


def test_scoring_a_run_without_its_data(finished: Path, tmp_path: Path) -> None:
    outcome = command(tmp_path, f"evaluate={finished}", "data.files.validation=nowhere.tsv")
    assert_refused(outcome, r"^data\.files\.validation is nowhere\.tsv, which is not a file")


def test_a_hub_that_does_not_answer(tmp_path: Path) -> None:
    """Data and model each say what to do, within seconds, and the job that needs neither goes on."""
    network = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "0"}
    network |= {"HF_DATASETS_OFFLINE": "0", "HF_HOME": str(tmp_path / "empty"), "NO_PROXY": "127.0.0.1"}
    words = ["-m", *FAST, "task=demo,rte", "model=bert_base,tiny_bert", "sweep.isolate=false"]
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "run", *words],
        cwd=tmp_path,
        env=os.environ | network,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    records = [RunRecord.read(path.parent) for path in sorted(tmp_path.rglob("result.json"))]
    assert [record.status for record in records] == ["failed", "finished", "failed", "failed"]
    errors = [str(record.error) for record in records]
    assert re.search(r"model=bert_base: cannot load 'google-bert/bert-base-uncased' \(.*model\.path=FOLDER", errors[0])
    for error in errors[2:]:
        assert re.search(r"data set nyu-mll/glue \(rte\) cannot be had, no answer from the hub .*data\.dir=", error)
    assert len(re.findall(r"^\[\d/4\] .*: failed: ", done.stderr, re.MULTILINE)) == 3
    assert all(record.totals["seconds"] < 30 for record in records)
    assert time.monotonic() - began < 200


def test_an_unknown_metric_is_refused_before_training(tmp_path: Path) -> None:
    words = ["task.metrics=[acuracy]", "task.primary_metric=acuracy"]
    outcome = command(tmp_path, *FAST, *tiny_files(tmp_path), *words)
    assert_refused(outcome, "acuracy.*accuracy")
    assert outcome.run_dirs() == []


def test_more_tokens_than_the_model_has_positions(tmp_path: Path) -> None:
    words = ["data.max_length=512", "data.padding=max_length"]
    assert_refused(command(tmp_path, *FAST, *tiny_files(tmp_path), *words), r"^data\.max_length=512: .* 128 tokens")


def test_a_seed_that_is_too_large(tmp_path: Path) -> None:
    assert_refused(command(tmp_path, *FAST, *tiny_files(tmp_path), "seed=4294967296"), r"seed=")


def test_a_model_destroyed_by_its_last_step_has_no_score(tmp_path: Path) -> None:
    words = ["prune=none", "train.warmup=0", f"train.learning_rate={LARGE}", "runtime.precision=fp32"]
    outcome = command(tmp_path, *FAST, *tiny_files(tmp_path), *words)
    assert_refused(outcome, "^evaluate: .*not finite")
    assert assert_failed(outcome.run_dirs()[0], "not finite").score is None
