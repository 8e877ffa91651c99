"""Sweeps by the command line: folders, going on, retries, processes of their own, the end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from command_line import FAST, Outcome, command, tiny_files
from light_peft import isolation
from light_peft.artifacts import CONFIG, LOG, RECORD, RunRecord, read_json, write_json
from light_peft.sweeps.attempts import fail
from light_peft.sweeps.board import VARIABLE
from light_peft.sweeps.cells import Cell, failure_of, key_of, read_cells

HERE = "sweep.isolate=false"
FOUR = ("seed=1,2", "prune.ffn=0.25,0.5")


def sweep(folder: Path, *words: str) -> Outcome:
    """Sweep with the words of a short run, in the folder `sweep`."""
    return command(folder, "-m", "hydra.sweep.dir=sweep", *FAST, *tiny_files(folder), *words)


def cells(folder: Path) -> list[Cell]:
    return read_cells([folder / "sweep"])


def moments(folder: Path) -> dict[str, int]:
    """Return when each record was written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.rglob(RECORD)}


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Two seeds by two shares."""
    folder = tmp_path_factory.mktemp("four")
    return sweep(folder, *FOUR, HERE)


def test_each_cell_has_a_folder_of_its_own(four: Outcome) -> None:
    assert four.code == 0, four.output
    found = cells(four.folder)
    names = [f"demo-tiny_bert-lora-seed{seed}-{cell.key}" for cell, seed in zip(found, (1, 1, 2, 2), strict=True)]
    assert [cell.folder for cell in found] == [four.folder / "sweep" / name for name in names]
    assert len({cell.key for cell in found}) == 4
    records = [RunRecord.read(folder) for folder in [cell.folder for cell in found] if folder is not None]
    assert [tuple(record.words) for record in records] == [cell.words for cell in found]
    asked = [(record.seed, record.config["prune"]["ffn"]) for record in records]
    assert asked == [(1, 0.25), (1, 0.5), (2, 0.25), (2, 0.5)]
    assert [sum(record.plan["ffn"]) for record in records] == [96, 64, 96, 64]


def test_each_cell_has_its_own_log_and_one_line_here(four: Outcome) -> None:
    for number, cell in enumerate(cells(four.folder)):
        assert cell.folder is not None
        assert cell.record is not None
        log = (cell.folder / LOG).read_text(encoding="utf-8")
        assert log.count("of the blocks") == 1
        assert f"accuracy {cell.record.score:.4f}" in log
        line = four.output.splitlines()[number]
        assert line.startswith(f"[{number + 1}/4] seed={cell.record.seed} prune.ffn=")
        assert f": accuracy {cell.record.score:.4f}, " in line
    assert four.output.splitlines()[4:] == ["sweep: sweep"]


def test_the_sweep_keeps_the_command(four: Outcome) -> None:
    (whole,) = read_json(four.folder / "sweep" / "sweep.json")["commands"]
    assert whole.startswith("python -m run -m hydra.sweep.dir=sweep debug=smoke ")
    assert "seed=1,2" in whole


def test_again_runs_nothing_and_a_cell_that_is_missing_alone(four: Outcome) -> None:
    before = moments(four.folder)
    again = sweep(four.folder, *FOUR)  # would start processes if there were something to run
    assert again.code == 0, again.output
    assert [line.rsplit(", ", 1)[1] for line in again.output.splitlines()[:4]] == ["finished before"] * 4
    assert moments(four.folder) == before
    removed = cells(four.folder)[1].folder
    assert removed is not None
    (removed / RECORD).unlink()
    (removed / CONFIG).unlink()
    other = sweep(four.folder, *FOUR[:1], "prune.ffn=0.5", HERE)  # another command for the same folder
    assert other.code == 0, other.output
    after = moments(four.folder)
    assert [name for name in after if after[name] != before[name]] == [removed.name]
    assert [cell.status for cell in cells(four.folder)] == ["finished"] * 4


def test_a_cell_that_means_something_else_now_is_refused(four: Outcome) -> None:
    (cell, *_) = cells(four.folder)
    assert cell.folder is not None
    settings = read_json(cell.folder / CONFIG)
    was = settings["train"]["learning_rate"]
    try:
        write_json(cell.folder / CONFIG, settings | {"train": settings["train"] | {"learning_rate": 9.0}})
        outcome = sweep(four.folder, "seed=1", "prune.ffn=0.25")
    finally:
        write_json(cell.folder / CONFIG, settings)
    assert outcome.code == 2
    assert outcome.message.startswith("1 of 1 cells failed")
    assert (
        "the run of this cell is of another configuration, for what its words stand for has changed" in outcome.message
    )
    assert was != 9.0
    assert failure_of(four.folder / "sweep", cell.key) is None


def test_runs_of_another_commit_are_counted(four: Outcome) -> None:
    cell = cells(four.folder)[0]
    assert cell.folder is not None
    assert cell.record is not None
    git = cell.record.git
    cell.record.git = {"commit": "another", "dirty": False}
    cell.record.write(cell.folder)
    outcome = sweep(four.folder, *FOUR)
    cell.record.git = git
    cell.record.write(cell.folder)
    assert outcome.code == 0
    assert outcome.output.splitlines()[4].startswith("1 of the cells that had finished before are of another commit")


def test_a_cell_that_fails_does_not_stop_the_others_and_is_tried_again_so_often(tmp_path: Path) -> None:
    words = ("prune.attn=0.99,0.25", HERE)
    first = sweep(tmp_path, *words, "sweep.retry=1")
    assert first.code == 2
    assert "Traceback" not in first.output
    lines = first.message.splitlines()
    assert lines[0] == "1 of 2 cells failed (in full: sweep/failed)"
    assert lines[1].startswith("  prune.attn=0.99: prune.attn=0.99 leaves 0 of 4 groups")
    assert lines[2] == "the same command with hydra.sweep.dir=sweep runs what has not finished"
    assert [cell.status for cell in cells(tmp_path)] == ["failed", "finished"]
    before = moments(tmp_path)
    second = sweep(tmp_path, *words, "sweep.retry=1")
    failed, done = (cell.folder.name for cell in cells(tmp_path) if cell.folder is not None)
    after = moments(tmp_path)
    assert (after[failed] > before[failed], after[done]) == (True, before[done])
    third = sweep(tmp_path, *words, "sweep.retry=1")
    assert moments(tmp_path) == after
    assert (second.code, third.code) == (2, 2)
    assert third.message.splitlines()[1].endswith("(failed 2 times, left as it is; sweep.retry=2 tries it once more)")


def test_a_cell_that_never_begins_is_known(tmp_path: Path) -> None:
    outcome = sweep(tmp_path, "seed=1", "train.epochs=-1", HERE)
    assert outcome.code == 2
    (cell,) = cells(tmp_path)
    assert (cell.folder, cell.status, cell.error) == (None, "failed", "train.epochs=-1: must be above 0, and finite")


def test_a_defect_fails_a_cell_and_is_kept_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from light_peft.pipeline import Run

    def broken(_: Run) -> None:
        raise KeyError("a defect of ours")

    monkeypatch.setattr(Run, "execute", broken)
    outcome = sweep(tmp_path, "seed=1,2", HERE)
    assert outcome.code == 1
    assert "  seed=2: KeyError: 'a defect of ours'" in outcome.message
    for cell in cells(tmp_path):
        assert cell.failure is not None
        assert cell.failure.error.startswith("KeyError: 'a defect of ours'\nTraceback (most recent call last)")


def test_each_run_may_show_itself(tmp_path: Path) -> None:
    outcome = sweep(tmp_path, "prune.attn=0.99,0.25", HERE, "sweep.show=runs")
    assert outcome.code == 2
    assert outcome.output.count("record: sweep/demo-tiny_bert-lora-seed42-") == 1
    assert outcome.message.startswith("prune.attn=0.99 leaves 0 of 4 groups")
    assert "1 of 2 cells failed" in outcome.message


def test_a_wrong_setting_of_the_sweep_begins_nothing(tmp_path: Path) -> None:
    outcome = command(tmp_path, "-m", "sweep.show=tabel", "seed=1,2")
    assert (outcome.code, outcome.message) == (2, "sweep.show=tabel: unknown. There are: table, runs")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_composed_is_not_asked_for(tmp_path: Path) -> None:
    assert sweep(tmp_path, "task=demo,rtee").code == 2
    assert not (tmp_path / "sweep" / "sweep.json").exists()


def test_two_sweeps_of_the_same_second_have_two_folders(tmp_path: Path) -> None:
    for _ in range(2):
        outcome = command(tmp_path, "-m", *FAST, "data.files.train=nowhere.tsv", HERE)
    assert len(outcome.run_dirs()) == 2
    assert len({path.parent for path in outcome.run_dirs()}) == 2


def test_a_folder_that_was_named_by_the_user_is_taken(tmp_path: Path) -> None:
    fail(tmp_path / "sweep", ["other"], "not of this command", 7)
    outcome = sweep(tmp_path, "seed=3", "train.epochs=1", HERE, "hydra.sweep.subdir=of_${seed}")
    assert outcome.code == 0, outcome.output
    (cell,) = cells(tmp_path)
    assert (cell.folder, cell.status) == (tmp_path / "sweep" / "of_3", "finished")


def test_an_interrupt_ends_the_sweep_and_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handlers = [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)]

    def interrupt(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)

    with monkeypatch.context() as patch:
        patch.setattr("light_peft.pipeline.Run.execute", interrupt)
        outcome = sweep(tmp_path, "seed=1,2", HERE)
    assert outcome.code == 130
    assert outcome.output.splitlines() == [
        "[1/2] seed=1: interrupted",
        "2 of 2 cells are left to do; the same command with hydra.sweep.dir=sweep runs what has not finished",
        "interrupted",
    ]
    assert [cell.status for cell in cells(tmp_path)] == ["interrupted", "missing"]
    assert [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert VARIABLE not in os.environ


STAND_IN = """
import json, os, signal, sys
from pathlib import Path
from light_peft.config import config_from_dict
from light_peft.opening import open_run
asked = json.loads(Path(sys.argv[1]).read_text())
opened = open_run(config_from_dict(asked["config"]), asked["words"])
print("the last words", flush=True)
if opened.record.seed == 1: os.kill(os.getpid(), signal.SIGKILL)
opened.record.status, opened.record.score, opened.record.primary_metric = "finished", 0.5, "accuracy"
opened.end()
"""


def test_a_process_that_is_killed_fails_its_cell_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "worker.py"
    script.write_text(STAND_IN)
    alone = isolation.Alone

    def stand_in(words: list[str], folder: Path, *, is_quiet: bool) -> isolation.Alone:
        assert words[1:3] == ["-m", "light_peft.worker"]
        assert is_quiet
        return alone([words[0], str(script), words[3]], folder, is_quiet=is_quiet)

    monkeypatch.setattr(isolation, "Alone", stand_in)
    outcome = sweep(tmp_path, "seed=1,2")
    assert outcome.code == 1
    why = "its process was killed by SIGKILL (perhaps by the system, for want of memory)"
    assert outcome.message.splitlines()[1] == f"  seed=1: {why}"
    killed, other = cells(tmp_path)
    assert (killed.status, other.status) == ("failed", "finished")
    assert killed.record is not None
    assert (killed.record.status, killed.record.error) == ("failed", "its process was killed by SIGKILL")
    assert killed.failure is not None
    assert killed.failure.error == f"{why}\nthe last words"


def test_a_signal_that_ends_a_sweep_ends_the_process_of_its_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "worker.py"
    script.write_text("import os, signal, time\nos.kill(os.getppid(), signal.SIGINT)\ntime.sleep(60)\n")
    alone = isolation.Alone
    monkeypatch.setattr(
        isolation, "Alone", lambda words, folder, **rest: alone([words[0], str(script)], folder, **rest)
    )
    outcome = sweep(tmp_path, "seed=1,2")
    assert outcome.code == 130
    assert outcome.output.splitlines()[0] == "[1/2] seed=1: interrupted"
    assert "2 of 2 cells are left to do" in outcome.output


def process(folder: Path, *words: str) -> subprocess.Popen[str]:
    start = [sys.executable, "-m", "run", "-m", "hydra.sweep.dir=sweep", *FAST, *tiny_files(folder), *words]
    return subprocess.Popen(start, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.slow
def test_a_sweep_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    """Of two cells, each in a process of its own, one has finished when the sweep is killed; the other runs then."""
    killed = process(tmp_path, "seed=1,2", "runtime.threads=1")
    deadline = time.monotonic() + 300
    while not any(RunRecord.read(path.parent).status == "finished" for path in tmp_path.rglob(RECORD)):
        assert time.monotonic() < deadline
        assert killed.poll() is None
        time.sleep(0.05)
    killed.kill()
    killed.communicate()
    before = moments(tmp_path)
    first, second = cells(tmp_path)
    assert first.folder is not None
    assert (first.status, second.status in ("missing", "running")) == ("finished", True)
    outcome = sweep(tmp_path, "seed=1,2", "runtime.threads=1", HERE)
    assert outcome.code == 0, outcome.output
    assert [line.endswith("finished before") for line in outcome.output.splitlines()[:2]] == [True, False]
    assert moments(tmp_path)[first.folder.name] == before[first.folder.name]
    assert [cell.status for cell in cells(tmp_path)] == ["finished"] * 2


@pytest.mark.slow
def test_cells_side_by_side_fail_like_others(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Joblib's jobs run in processes of their own, and what comes of them is known here all the same."""
    words = ["runtime.threads=1", HERE, "prune.attn=0.25,0.99"]
    outcome = sweep(tmp_path, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", *words)
    assert outcome.code == 2, outcome.output
    assert [cell.status for cell in cells(tmp_path)] == ["finished", "failed"]
    assert outcome.message.splitlines()[1].startswith("  prune.attn=0.99: prune.attn=0.99 leaves 0 of 4 groups")
    assert "error" not in capfd.readouterr().err
    before = moments(tmp_path)
    again = sweep(tmp_path, *words, "sweep.retry=0")
    assert again.code == 2
    assert moments(tmp_path) == before


@pytest.mark.slow
def test_ctrl_c_lets_cells_side_by_side_write_checkpoints(tmp_path: Path) -> None:
    """The signal goes to the whole group of processes, as a terminal sends it."""
    words = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "train.max_steps=100000", "train.epochs=100000"]
    start = [sys.executable, "-m", "run", "-m", "hydra.sweep.dir=sweep", *FAST, *tiny_files(tmp_path), *words]
    running = subprocess.Popen(
        [*start, "seed=1,2,3", "runtime.threads=1"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while sum("train: step" in path.read_text() for path in tmp_path.rglob(LOG)) < 2:
        assert time.monotonic() < deadline
        assert running.poll() is None, running.communicate()
        time.sleep(0.1)
    os.killpg(running.pid, signal.SIGINT)
    output, _ = running.communicate(timeout=300)
    assert running.returncode == 130, output
    assert "Traceback" not in output
    assert output.splitlines()[-1].startswith(
        "3 of 3 cells are left to do; the same command with hydra.sweep.dir=sweep "
    )
    assert sorted(cell.status for cell in cells(tmp_path)) == ["interrupted", "interrupted", "missing"]
    assert len(list(tmp_path.rglob("checkpoints/*-train-*"))) >= 2


@pytest.mark.slow
def test_a_job_that_is_submitted_fails_like_others(tmp_path: Path) -> None:
    """Submitit runs the job as Slurm would, but here; its process and its output are not ours."""
    outcome = sweep(tmp_path, "hydra/launcher=submitit_local", "seed=-1")
    assert outcome.code == 2, outcome.output
    assert outcome.output.startswith("no table of jobs elsewhere; how they stand: python -m light_peft.report sweep\n")
    assert outcome.message.splitlines()[1].endswith("seed=-1: must not be negative, and finite")
    note = failure_of(tmp_path / "sweep", key_of(cells(tmp_path)[0].words))
    assert note is not None
    assert (note.attempts, note.code) == (1, 2)
