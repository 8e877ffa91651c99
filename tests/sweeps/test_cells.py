"""What a sweep was asked for and what became of it, read from its folder."""

import threading
from pathlib import Path

import pytest

from light_peft.artifacts import RunRecord
from light_peft.sweeps.cells import (
    Failure,
    ask,
    asked_of,
    failure_of,
    folder_name,
    forget_failure,
    key_of,
    note_failure,
    read_cells,
)

ONE, TWO = ("task=rte", "seed=1"), ("task=rte", "seed=2")
VALUES = {"task": {"name": "rte"}, "model": {"name": "my model=2"}, "peft": {"kind": "lora"}, "seed": 1}


def leave(folder: Path, status: str, words: tuple[str, ...] = (), error: str | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    RunRecord(status=status, words=list(words), error=error).write(folder)


def test_a_key_is_of_the_words_that_matter_in_any_order() -> None:
    assert key_of(["seed=1", "task=rte"]) == key_of(ONE)
    assert key_of([*ONE, "sweep.retry=0", "+run_dir=x", "label=plain", "checkpoint.steps=5", "resume=true"]) == key_of(
        ONE
    )
    assert len({key_of(ONE), key_of(TWO), key_of([*ONE, "labels=x"]), key_of([*ONE, "estimate.steps=1"])}) == 4


def test_a_folder_is_named_without_marks_that_mean_something() -> None:
    assert folder_name(VALUES, ONE) == f"rte-my_model_2-lora-seed1-{key_of(ONE)}"


def test_what_is_asked_for_adds_up(tmp_path: Path) -> None:
    ask(tmp_path, [ONE], "first")
    ask(tmp_path, [TWO, ONE], "second")
    ask(tmp_path, [ONE], "first")
    assert asked_of(tmp_path) == [ONE, TWO]
    assert (tmp_path / "sweep.json").read_text().count('"first"') == 1


def test_many_may_ask_at_once(tmp_path: Path) -> None:
    cells = [(f"seed={seed}",) for seed in range(12)]
    threads = [threading.Thread(target=ask, args=(tmp_path, [cell], cell[0])) for cell in cells]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(asked_of(tmp_path)) == sorted(cells)


def test_a_cell_is_found_by_the_words_of_its_run_or_by_its_folder(tmp_path: Path) -> None:
    ask(tmp_path, [ONE, TWO, ("task=cola",)], "command")
    leave(tmp_path / "of its own name", "finished", ("seed=1", "task=rte", "sweep.show=runs"))
    leave(tmp_path / folder_name(VALUES, TWO), "interrupted")  # of a version that did not note words
    leave(tmp_path / "deeper" / "alone", "finished", ("task=sst2",))
    cells = read_cells([tmp_path])
    assert [(cell.words, cell.status) for cell in cells] == [
        (ONE, "finished"),
        (TWO, "interrupted"),
        (("task=cola",), "missing"),
        (("task=sst2",), "finished"),
    ]
    assert cells[0].folder == tmp_path / "of its own name"


def test_a_sweep_within_another_has_its_own_runs(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    ask(tmp_path, [ONE], "outer")
    ask(inner, [ONE], "inner")
    leave(inner / "run", "finished", ONE)
    assert [(cell.folder, cell.status) for cell in read_cells([tmp_path])] == [
        (None, "missing"),
        (inner / "run", "finished"),
    ]


@pytest.mark.parametrize(
    ("record", "note", "expected"),
    [
        (None, None, ("missing", None)),
        (None, Failure(list(ONE), "no such file:\n  x", 2, 1), ("failed", "no such file")),
        ("failed", None, ("failed", "ValueError: bad")),
        ("failed", Failure(list(ONE), "killed", 1, 2), ("failed", "killed")),
        ("running", Failure(list(ONE), "killed", 1, 2, again=True), ("running", "ValueError: bad")),
        ("finished", Failure(list(ONE), "killed", 1, 2), ("finished", None)),
    ],
)
def test_how_a_cell_stands(
    tmp_path: Path, record: str | None, note: Failure | None, expected: tuple[str, str | None]
) -> None:
    ask(tmp_path, [ONE], "command")
    if record is not None:
        leave(tmp_path / "run", record, ONE, "ValueError: bad\nmore")
    if note is not None:
        note_failure(tmp_path, note)
    (cell,) = read_cells([tmp_path])
    assert (cell.status, cell.error) == expected
    assert cell.command == "python -m run task=rte seed=1"


def test_a_note_comes_back_and_goes(tmp_path: Path) -> None:
    note = Failure(list(ONE), "bad", 2, 3, again=True)
    note_failure(tmp_path, note)
    assert failure_of(tmp_path, key_of(ONE)) == note
    forget_failure(tmp_path, key_of(ONE))
    forget_failure(tmp_path, key_of(ONE))
    assert failure_of(tmp_path, key_of(ONE)) is None
