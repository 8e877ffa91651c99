"""What a tracker gets to see of a run: losses, scores and figures, each once and in the order of steps."""

import json
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from light_peft import artifacts, tracking
from light_peft.artifacts import RunRecord
from light_peft.asked import check_config
from run_cases import composed, killed_run, whole_run

LONG = ("estimate.steps=10", "train.max_steps=20", "train.batch_size=24", "checkpoint.steps=6")
"""Two steps an epoch, losses after 10 of estimation and 10 and 20 of training."""
BOARD = ("track=tensorboard", *LONG)


def read_board(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return steps and values by name, as TensorBoard reads them."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(folder / artifacts.TRACKING / "tensorboard"), purge_orphaned_data=False)
    events.Reload()
    return {name: [(one.step, one.value) for one in events.Scalars(name)] for name in events.Tags()["scalars"]}


def expected_of(record: RunRecord, before: int) -> dict[str, list[tuple[int, float]]]:
    """Return what the history of a record says, training behind `before` steps of estimation."""
    found: dict[str, list[tuple[int, float]]] = {}
    for entry in record.history:
        values = {name: value for name, value in entry.items() if name not in ("phase", "step", "agreement")}
        for name, value in values.items():
            step = entry["step"] + (0 if entry["phase"] == "estimate" else before)
            found.setdefault(f"{entry['phase']}/{name}", []).append((step, pytest.approx(value, rel=1e-6)))
    return found


def figures_in(board: dict[str, list[tuple[int, float]]]) -> dict[str, list[tuple[int, float]]]:
    """Return what is not of the history: the figures behind the end."""
    phases = ("estimate/", "train/", "evaluate/")
    return {name: points for name, points in board.items() if not name.startswith(phases)}


def test_tensorboard_has_the_history_and_the_figures(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    whole_run(tmp_path / "run", *BOARD)
    record, board = RunRecord.read(tmp_path / "run"), read_board(tmp_path / "run")
    history = expected_of(record, before=10)
    assert [step for step, _ in history["train/loss"]] == [20, 30]
    assert history["evaluate/accuracy"][-1][0] == 30
    assert {name: board[name] for name in history} == history
    figures = figures_in(board)
    assert figures["parameters/blocks_after"] == [(30, pytest.approx(record.parameters["blocks_after"]))]
    assert figures["plan/heads"] == [(30, sum(record.plan["heads"]))]
    assert figures["phases/train/steps"] == [(30, 20)]
    assert figures["totals/seconds"] == [(30, pytest.approx(record.totals["seconds"]))]
    assert figures["score"] == [(30, pytest.approx(record.score))]
    (settings,) = (tmp_path / "run" / artifacts.TRACKING).rglob("hparams.yml")
    assert "train.max_steps: 20\n" in settings.read_text(encoding="utf-8")


def test_a_run_that_goes_on_logs_nothing_twice(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    for where in (("estimate", 8), ("train", 11), ("train", 20)):
        killed_run(tmp_path / "run", where, *BOARD)
    whole_run(tmp_path / "run", *BOARD)
    record, board = RunRecord.read(tmp_path / "run"), read_board(tmp_path / "run")
    assert [left["step"] for left in record.resumed] == [6, 6, 18]
    history = expected_of(record, before=10)
    assert {name: board[name] for name in history} == history
    assert all(len(points) == 1 for points in figures_in(board).values())
    assert len(list((tmp_path / "run" / artifacts.TRACKING).rglob("hparams.yml"))) == 1


def test_a_run_that_is_begun_anew_has_nothing_of_the_one_before(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    for _ in range(2):
        killed_run(tmp_path / "run", ("train", 11), *BOARD, "checkpoint.keep=0")
    assert [step for step, _ in read_board(tmp_path / "run")["train/loss"]] == [20]


class Library(ModuleType):
    """A stand-in for wandb that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.__spec__ = ModuleSpec("wandb", None)
        self.started: list[dict[str, Any]] = []
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.settings: dict[str, Any] = {}
        self.finished = 0
        self.breaks_at: int | None = None

    @property
    def config(self) -> Any:
        """Be what takes the settings."""
        return type("Settings", (), {"update": lambda _, values, allow_val_change: self.settings.update(values)})()

    def init(self, **words: Any) -> "Library":
        """Begin a run, which this is as well."""
        self.started.append(words)
        return self

    def log(self, values: dict[str, float], step: int) -> None:
        """Take figures, or fail."""
        if self.breaks_at is not None and step >= self.breaks_at:
            raise ConnectionError("the server is gone")
        self.logged.append((step, values))

    def finish(self) -> None:
        """End the run."""
        self.finished += 1


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Library:
    library = Library()
    monkeypatch.setitem(sys.modules, "wandb", library)
    for name in ("WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    return library


def test_wandb_stays_offline_and_goes_on_in_the_same_run(tmp_path: Path, wandb: Library) -> None:
    words = ("track=wandb", "label=mine", *LONG)
    killed_run(tmp_path / "run", ("train", 11), *words)
    assert wandb.finished == 1, "ended although the run failed"
    whole_run(tmp_path / "run", *words)
    first, second = wandb.started
    place = tmp_path / "run" / artifacts.TRACKING
    assert (first["mode"], first["dir"], first["project"], first["name"]) == (
        "offline",
        str(place),
        "light-peft",
        "mine",
    )
    assert first == second
    steps = [step for step, _ in wandb.logged]
    assert steps == sorted(steps)
    record = RunRecord.read(tmp_path / "run")
    logged: dict[str, list[tuple[int, float]]] = {}
    for step, values in wandb.logged[:-1]:
        for name, value in values.items():
            logged.setdefault(name, []).append((step, value))
    assert logged == expected_of(record, before=10)
    assert wandb.logged[-1][1]["score"] == record.score
    assert (wandb.settings["train.max_steps"], wandb.settings["peft.kind"]) == (20, "lora")


def test_the_user_says_where_wandb_goes(tmp_path: Path, wandb: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    whole_run(tmp_path / "run", "track=wandb")
    (words,) = wandb.started
    assert (words["mode"], words["project"], words["resume"]) == ("online", "theirs", "allow")


def test_a_tracker_that_breaks_is_warned_of_once(tmp_path: Path, wandb: Library) -> None:
    wandb.breaks_at = 20
    whole_run(tmp_path / "run", "track=wandb", *LONG)
    assert RunRecord.read(tmp_path / "run").status == "finished"
    log = (tmp_path / "run" / artifacts.LOG).read_text(encoding="utf-8")
    assert log.count("track=wandb: nothing more is logged (ConnectionError: the server is gone)") == 1
    assert max(step for step, _ in wandb.logged) < 20


def test_one_that_does_not_start_is_an_error_of_its_own(
    tmp_path: Path, wandb: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb, "init", None)
    with pytest.raises(ValueError, match=r"^track=wandb: does not start \(TypeError: .*\); set track=none$"):
        whole_run(tmp_path / "run", "track=wandb")


def test_where_it_has_come_to_may_be_damaged(tmp_path: Path, wandb: Library) -> None:
    killed_run(tmp_path / "run", ("train", 3), "track=wandb")
    position = tmp_path / "run" / artifacts.TRACKING / "wandb.json"
    assert json.loads(position.read_text(encoding="utf-8"))["logged"] == 1
    position.write_text("{", encoding="utf-8")
    whole_run(tmp_path / "run", "track=wandb")
    assert wandb.started[0]["id"] != wandb.started[1]["id"]
    assert "what has been logged is logged again" in (tmp_path / "run" / artifacts.LOG).read_text(encoding="utf-8")


def test_a_tracker_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"^track=wandb: needs the package wandb; pip install wandb, or set"):
        check_config(composed("debug=smoke", "track=wandb"))


def test_without_a_tracker_nothing_is_written(tmp_path: Path) -> None:
    whole_run(tmp_path / "run", "prune=none", "train.max_steps=1")
    assert not (tmp_path / "run" / artifacts.TRACKING).exists()


def test_without_estimation_training_begins_at_the_first_step(tmp_path: Path, wandb: Library) -> None:
    whole_run(tmp_path / "run", "track=wandb", "prune=none")
    assert [step for step, values in wandb.logged if "train/loss" in values] == [6]


def test_settings_are_plain() -> None:
    assert tracking.plain({"a": None, "b": [1, "x"], "c": 0.5, "d": "e", "f": True}) == {
        "a": "null",
        "b": '[1, "x"]',
        "c": 0.5,
        "d": "e",
        "f": True,
    }
