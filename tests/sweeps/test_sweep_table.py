"""A sweep on the screen: names, rows, what is shown of many, the estimate of the rest."""

from io import StringIO

import pytest
from rich.console import Console

from light_peft.sweeps.board import DONE, FAILED, INTERRUPTED, REUSED, Outcome
from light_peft.sweeps.cells import key_of
from light_peft.sweeps.table import Row, names_of, picture, total, visible

NOW = 1000.0


def done(number: int, **changes: object) -> Row:
    values = {"kind": DONE, "result": "accuracy 0.5000", "seconds": 60.0, "time": NOW - 100 + number, **changes}
    return Row(f"{number}", f"seed={number}", "", 900.0, Outcome(**values))  # type: ignore[arg-type]


def drawn(rows: list[Row], height: int = 40, width: int = 100) -> list[str]:
    console = Console(file=StringIO(), width=width, height=height, record=True)
    console.print(picture(rows, NOW - 200, height, NOW))
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_a_name_is_what_the_others_do_not_have() -> None:
    cells = [["task=rte", "seed=1", "sweep.retry=1"], ["task=cola", "seed=1", "sweep.retry=2"]]
    assert list(names_of(cells).items()) == [(key_of(cells[0]), "task=rte"), (key_of(cells[1]), "task=cola")]
    assert list(names_of(cells[:1]).values()) == ["task=rte seed=1"]
    assert names_of([]) == {}


def test_each_cell_has_a_row() -> None:
    rows = [
        done(1),
        done(2, kind=FAILED, error="[bold]no[/] such file", result="", seconds=0.0),
        done(3, kind=REUSED),
        done(4, kind=INTERRUPTED, result="", seconds=0.0),
        Row("5", "seed=5", "train: step 3 of 9, loss 0.5", NOW - 12),
        Row("6", "seed=6"),
    ]
    lines = drawn(rows)
    cells = [[part.strip() for part in line.split("│")] for line in lines if line.strip().startswith("seed=")]
    assert cells == [
        ["seed=1", "finished", "60", "accuracy 0.5000"],
        ["seed=2", "failed", "2", "[bold]no[/] such file"],
        ["seed=3", "finished before", "60", "accuracy 0.5000"],
        ["seed=4", "interrupted", "4", ""],
        ["seed=5", "running", "12", "train: step 3 of 9, loss 0.5"],
        ["seed=6", "waiting", "", ""],
    ]
    counts = "1 running, 1 failed, 1 interrupted, 1 finished, 1 waiting, 1 finished before"
    assert " ".join(lines[-2:]) == f"4 of 6 cells, 0:03:20, about 0:03:20 left: {counts}"


@pytest.mark.parametrize("width", [50, 100])
def test_a_long_sweep_finds_room(width: int) -> None:
    rows = [done(number) for number in range(50)] + [Row(f"{number}", f"seed={number}") for number in range(50, 100)]
    rows[7] = done(7, kind=FAILED, error="why " * 60)
    rows[50] = Row("50", "seed=50", "load begins", NOW)
    lines = drawn(rows, height=20, width=width)
    assert len(lines) <= 20
    assert max(map(len, lines)) <= width
    shown = [line.split()[0] for line in lines if line.strip().startswith("seed=")]
    assert shown[0] == "seed=7"
    assert shown[-2:] == ["seed=49", "seed=50"]
    assert "and 86 more: 37 finished, 49 waiting" in lines


def test_what_is_shown_of_many_keeps_its_order() -> None:
    rows = [Row("0", "a"), done(1), Row("2", "c", begun=NOW), done(3, kind=FAILED), done(4, kind=REUSED), done(5)]
    assert [row.key for row in visible(rows, 6)] == ["0", "1", "2", "3", "4", "5"]
    assert [row.key for row in visible(rows, 3)] == ["2", "3", "5"]
    assert [row.key for row in visible(rows, 1)] == ["2"]


def test_the_rest_is_estimated_by_what_this_call_has_done() -> None:
    """Four of eight had finished before: two have taken 200 s together, so two more take as long."""
    rows = [done(number, kind=REUSED) for number in range(4)] + [
        done(4),
        done(5, kind=FAILED),
        Row("6", "g"),
        Row("7", "h"),
    ]
    assert total(rows, NOW - 200, NOW).startswith("6 of 8 cells, 0:03:20, about 0:03:20 left: 1 failed,")
    waiting = total(rows[:4] + rows[6:], NOW - 200, NOW)
    assert waiting == "4 of 6 cells, 0:03:20: 2 waiting, 4 finished before"
    assert total(rows[:6], NOW - 200, NOW).startswith("6 of 6 cells, 0:03:20: ")


def test_what_came_of_a_cell_in_one_line() -> None:
    assert done(1).line(3, 12) == "[3/12] seed=1: accuracy 0.5000, 60 s"
    assert done(1, kind=FAILED, error="bad").line(1, 2) == "[1/2] seed=1: failed: bad"
    assert done(1, kind=REUSED).line(1, 2) == "[1/2] seed=1: accuracy 0.5000, finished before"
    assert done(1, kind=INTERRUPTED).line(2, 2) == "[2/2] seed=1: interrupted"
