"""The board of a sweep command, and what is shown of it."""

import os
import time
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from light_peft.artifacts import LOG, RunRecord
from light_peft.sweeps.board import VARIABLE, Board, failed, finished, interrupted
from light_peft.sweeps.cells import asked_of
from light_peft.sweeps.watch import Lines, LiveTable, Nothing, Watch, show_on

CELLS = [["task=rte", "seed=1"], ["task=rte", "seed=2"], ["task=rte", "seed=3"]]
RECORD = RunRecord(
    primary_metric="accuracy",
    score=0.55231,
    parameters={"blocks_before": 300, "blocks_after": 200},
    totals={"seconds": 41.7},
)


@pytest.fixture
def board(tmp_path: Path) -> Board:
    (tmp_path / "board").mkdir()
    board = Board(tmp_path / "board")
    board.plan(CELLS, "command")
    return board


def test_jobs_find_the_board_by_the_environment(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert Board.here() is None
    monkeypatch.setenv(VARIABLE, str(board.folder))
    found = Board.here()
    assert found is not None
    assert found.folder == board.folder
    monkeypatch.setenv(VARIABLE, str(board.folder / "of a sweep that is over"))
    assert Board.here() is None


def test_the_first_that_begins_notes_all_that_is_asked_for(board: Board, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    assert not sweep.exists()
    board.begin(sweep, CELLS[1])
    assert asked_of(sweep) == [tuple(words) for words in CELLS]
    board.begin(sweep, ["seed=4"])  # of a sweeper that makes cells as it goes
    assert asked_of(sweep)[3:] == [("seed=4",)]


def test_all_are_told_to_stop(board: Board) -> None:
    assert board.stopped_by() is None
    board.stop(2)
    assert Board(board.folder).stopped_by() == 2


def test_rows_follow_the_cells(board: Board, tmp_path: Path) -> None:
    run = tmp_path / "sweep" / "run"
    run.mkdir(parents=True)
    log = run / LOG
    log.write_text("2026-01-01 00:00:00,000 INFO of the attempt before\n")
    os.utime(log, (0, 0))
    watch = Watch(board, CELLS, Nothing())
    assert [row.state for row in watch.rows()] == ["waiting"] * 3
    board.begin(run.parent, CELLS[1])
    assert [(row.name, row.state, row.doing) for row in watch.rows()][1] == ("seed=2", "running", "starts")
    board.place(CELLS[1], str(run))
    assert watch.rows()[1].doing == "starts"
    log.write_text("2026-01-01 00:00:00,000 DEBUG train: step 1 of 9\n2026-01-01 00:00:01,000 INFO loss 0.5, lr 0.1\n")
    os.utime(log, (time.time() + 9, time.time() + 9))
    assert watch.rows()[1].doing == "loss 0.5, lr 0.1"
    board.end(CELLS[1], failed("bad:\n  more", 2))
    board.begin(run.parent, ["task=cola"])
    rows = watch.rows()
    assert [(row.name, row.state) for row in rows[1:]] == [
        ("seed=2", "failed"),
        ("seed=3", "waiting"),
        ("task=cola", "running"),
    ]
    assert rows[1].outcome is not None
    assert (rows[1].outcome.error, rows[1].outcome.code, rows[1].doing) == ("bad", 2, "")


def ended(board: Board, tmp_path: Path) -> None:
    for words, outcome in zip(
        CELLS, (finished(RECORD, before=True), failed("[x] bad", 2), interrupted(130)), strict=True
    ):
        board.begin(tmp_path, words)
        board.end(words, outcome)


def test_a_line_for_each_as_it_ends(board: Board, tmp_path: Path) -> None:
    said = StringIO()
    watch = Watch(board, CELLS, Lines(Console(file=said, width=40)))
    watch.start()
    ended(board, tmp_path)
    watch.close()
    assert said.getvalue().splitlines() == [
        "[1/3] seed=1: accuracy 0.5523, 66.7% of the blocks, finished before",
        "[2/3] seed=2: failed: [x] bad",
        "[3/3] seed=3: interrupted",
    ]


def test_a_table_on_a_terminal(board: Board, tmp_path: Path) -> None:
    said = StringIO()
    console = Console(file=said, width=90, height=20, force_terminal=True)
    show = show_on(console, "table")
    assert isinstance(show, LiveTable)
    watch = Watch(board, CELLS, show)
    watch.start()
    ended(board, tmp_path)
    watch.close()
    assert "accuracy 0.5523, 66.7% of the blocks" in said.getvalue()
    assert said.getvalue().rindex("\x1b[?25h") > said.getvalue().rindex("\x1b[?25l")  # the cursor is back
    assert "3 of 3 cells, 0:00:00: 1 failed, 1 interrupted, 1 finished before" in said.getvalue().splitlines()[-2]


def test_what_never_begins_is_not_shown(board: Board) -> None:
    said = StringIO()
    watch = Watch(board, CELLS, LiveTable(Console(file=said, force_terminal=True)))
    watch.start()
    watch.close()
    assert said.getvalue() == ""


def test_the_way_of_showing_is_chosen() -> None:
    assert isinstance(show_on(Console(file=StringIO()), "table"), Lines)
    assert isinstance(show_on(Console(file=StringIO(), force_terminal=True), "runs"), Nothing)
