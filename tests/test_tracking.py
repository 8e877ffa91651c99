"""What a tracker gets to see of a run: losses, scores and figures, each once and in the order of steps."""

import json
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest

from light_peft import artifacts, tracking
from light_peft.artifacts import RunRecord
from light_peft.asked import check_config
from light_peft.config import Config, RuntimeConfig
from light_peft.keeping import RunKeeper
from light_peft.meter import PhaseCost
from light_peft.runtime import start_runtime
from light_peft.tracking import Tracking
from run_cases import composed, killed_run, whole_run

LONG = ("estimate.steps=10", "train.max_steps=20", "train.batch_size=24", "checkpoint.steps=6")
"""Two steps an epoch, losses after 10 of estimation and 10 and 20 of training."""
Board = dict[str, list[tuple[int, float]]]


def read_board(folder: Path) -> Board:
    """Return steps and values by name, as TensorBoard reads them."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(folder / artifacts.TRACKING / "tensorboard"), purge_orphaned_data=False)
    events.Reload()
    return {name: [(one.step, one.value) for one in events.Scalars(name)] for name in events.Tags()["scalars"]}


def expected_of(record: RunRecord, before: int) -> Board:
    """Return what the history of a record says, training behind `before` steps of estimation."""
    found: Board = {}
    for entry in record.history:
        values = {name: value for name, value in entry.items() if name not in ("phase", "step", "agreement")}
        for name, value in values.items():
            step = entry["step"] + (0 if entry["phase"] == "estimate" else before)
            found.setdefault(f"{entry['phase']}/{name}", []).append((step, pytest.approx(value, rel=1e-6)))
    return found


def test_tensorboard_has_all_of_a_run_that_was_left_and_nothing_twice(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    words = ("track=tensorboard", "estimate.check_every=2", *LONG)
    for where in (("estimate", 8), ("train", 11)):
        killed_run(tmp_path / "run", where, *words)
    whole_run(tmp_path / "run", *words)
    record, board = RunRecord.read(tmp_path / "run"), read_board(tmp_path / "run")
    assert [left["step"] for left in record.resumed] == [6, 6]
    history = expected_of(record, before=10)
    assert [step for step, _ in history["train/loss"]] == [20, 30]
    assert {name: board[name] for name in history} == history
    figures = {name: points for name, points in board.items() if name not in history}
    assert figures["parameters/blocks_after"] == [(30, pytest.approx(record.parameters["blocks_after"]))]
    assert figures["plan/heads"] == [(30, sum(record.plan["heads"]))]
    assert figures["phases/train/steps"] == [(30, 20)]
    assert figures["totals/seconds"] == [(30, pytest.approx(record.totals["seconds"]))]
    assert figures["score"] == [(30, pytest.approx(record.score))]
    assert all(len(points) == 1 for points in figures.values())
    (settings,) = (tmp_path / "run" / artifacts.TRACKING).rglob("hparams.yml")
    assert "train.max_steps: 20\n" in settings.read_text(encoding="utf-8")


class Library(ModuleType):
    """A stand-in for wandb that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.__spec__ = ModuleSpec("wandb", None)
        self.started: list[dict[str, Any]] = []
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.settings: dict[str, Any] = {}
        self.finished = 0
        self.is_broken = False

    @property
    def config(self) -> Any:
        """Be what takes the settings."""
        return SimpleNamespace(update=lambda values, allow_val_change: self.settings.update(values))

    def init(self, **words: Any) -> "Library":
        """Begin a run, which this is as well."""
        assert not sys.stdin.isatty()
        assert sys.stdin.read() == "", "who asks gets no answer"
        self.started.append(words)
        return self

    def log(self, values: dict[str, float], step: int) -> None:
        """Take figures, or fail."""
        if self.is_broken:
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
    start_runtime(RuntimeConfig(device="cpu", precision="fp32"), 0)  # accelerate's trackers ask it who they are
    return library


LOSSES = [
    {"phase": "estimate", "step": 10, "loss": 1.9},
    {"phase": "estimate", "step": 14, "loss": 1.8},
    {"phase": "estimate", "step": 12, "agreement": {"attn": 1.0}},
    {"phase": "train", "step": 10, "loss": 0.7},
    {"phase": "train", "step": 20, "loss": 0.6},
    {"phase": "evaluate", "step": 20, "accuracy": 0.75},
]
KEPT = {name: [3, 3] for name in ("heads", "heads_before", "ffn", "ffn_before")}
PLAN = KEPT | {"ranks": {"query": 2, "value": 1}, "modules_before": 4, "ranks_before": 8}


def attempt(folder: Path, *, known: int, track: str = "wandb", goes_on: bool = False, is_main: bool = True) -> Tracking:
    """Return the tracking of an attempt that has the first `known` entries from the checkpoint that it goes on from."""
    keeper = SimpleNamespace(
        folder=folder,
        found=object() if goes_on else None,
        record=RunRecord(history=LOSSES[:known], plan=PLAN),
        meter=SimpleNamespace(phases={"estimate": PhaseCost(steps=14)}),
        accelerator=SimpleNamespace(is_main_process=is_main),
    )
    return Tracking(Config(track=track, label="mine"), cast(RunKeeper, keeper))


def run_on(tracked: Tracking, steps: int, *, fails: bool = True) -> None:
    """Let the history grow to so many entries, one at a time; then the run fails, or comes to its end."""
    history = tracked._keeper.record.history
    try:
        with tracked:
            for entry in LOSSES[len(history) : steps]:
                history.append(entry)
                tracked.update()
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert fails


SEEN = [
    (10, {"estimate/loss": 1.9}),
    (14, {"estimate/loss": 1.8}),
    (24, {"train/loss": 0.7}),
    (34, {"train/loss": 0.6}),
    (34, {"evaluate/accuracy": 0.75}),
]


def test_a_run_goes_on_in_the_same_tracker_run_and_repeats_nothing(tmp_path: Path, wandb: Library) -> None:
    run_on(attempt(tmp_path, known=0), 5)
    assert wandb.logged == SEEN[:4]
    run_on(attempt(tmp_path, known=1, goes_on=True), 4)
    assert wandb.logged == SEEN[:4], "this attempt came less far"
    run_on(attempt(tmp_path, known=3, goes_on=True), 6, fails=False)
    assert wandb.logged[:-1] == SEEN
    step, figures = wandb.logged[-1]
    assert (step, figures["plan/heads"], figures["plan/modules"], figures["plan/ranks"]) == (34, 6, 2, 3)
    assert wandb.started[0] == wandb.started[1] == wandb.started[2]
    assert wandb.finished == 3, "also where the run fails"


def test_wandb_stays_on_this_machine(tmp_path: Path, wandb: Library) -> None:
    run_on(attempt(tmp_path, known=0), 1)
    (words,) = wandb.started
    assert (words["mode"], words["dir"]) == ("offline", str(tmp_path / artifacts.TRACKING))
    assert (words["project"], words["name"]) == ("light-peft", "mine")
    assert (wandb.settings["peft.r"], wandb.settings["train.max_steps"]) == (8, "null")


def test_unless_its_own_variables_say_otherwise(
    tmp_path: Path, wandb: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    run_on(attempt(tmp_path, known=0), 1)
    (words,) = wandb.started
    assert (words["mode"], words["project"], words["resume"]) == ("online", "theirs", "allow")


def test_a_run_that_is_begun_anew_is_another_one(tmp_path: Path, wandb: Library) -> None:
    for _ in range(2):
        run_on(attempt(tmp_path, known=0), 2)
    assert wandb.logged == [*SEEN[:2], *SEEN[:2]]
    assert wandb.started[0]["id"] != wandb.started[1]["id"]


def test_what_another_run_has_estimated_is_logged_too(tmp_path: Path, wandb: Library) -> None:
    tracked = attempt(tmp_path, known=0)
    with tracked:
        tracked._keeper.record.history += LOSSES[:4]
        tracked.update()
    assert wandb.logged[:3] == SEEN[:3]


def test_a_tracker_that_breaks_is_warned_of_once(
    tmp_path: Path, wandb: Library, caplog: pytest.LogCaptureFixture
) -> None:
    tracked = attempt(tmp_path, known=1)
    wandb.is_broken = True
    run_on(tracked, 6)
    assert [record.getMessage() for record in caplog.records] == [
        "track=wandb: nothing more is logged (ConnectionError: the server is gone)"
    ]


def test_one_that_does_not_start_is_an_error_of_its_own(
    tmp_path: Path, wandb: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb, "init", None)
    with pytest.raises(ValueError, match=r"^track=wandb: does not start \(TypeError: .*\); set track=none"):
        run_on(attempt(tmp_path, known=0), 1)


def test_where_it_has_come_to_may_be_damaged(tmp_path: Path, wandb: Library) -> None:
    run_on(attempt(tmp_path, known=0), 2)
    position = tmp_path / artifacts.TRACKING / "wandb.json"
    assert json.loads(position.read_text(encoding="utf-8"))["logged"] == 2
    position.write_text("{", encoding="utf-8")
    run_on(attempt(tmp_path, known=1, goes_on=True), 2)
    assert wandb.started[0]["id"] != wandb.started[1]["id"]
    assert wandb.logged == [*SEEN[:2], *SEEN[:2]]


@pytest.mark.parametrize(("track", "is_main"), [("none", True), ("wandb", False)])
def test_nobody_else_writes(tmp_path: Path, wandb: Library, track: str, is_main: bool) -> None:
    run_on(attempt(tmp_path, known=0, track=track, is_main=is_main), 4)
    assert not wandb.started
    assert not list(tmp_path.iterdir())


def test_a_tracker_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"^track=wandb: needs the package wandb; pip install wandb, or set"):
        check_config(composed("debug=smoke", "track=wandb"))


def test_settings_are_plain() -> None:
    given = {"a": None, "b": [1, "x"], "c": 0.5, "d": "e", "f": True}
    assert tracking.plain(given) == given | {"a": "null", "b": '[1, "x"]'}
