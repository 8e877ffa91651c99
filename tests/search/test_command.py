"""`python -m light_peft.search`: what it takes and refuses, what it leaves, how it goes on, and a real one."""

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from search_cases import failure_of, formula

from command_line import FAST, tiny_files
from light_peft.artifacts import RECORD, RunRecord
from light_peft.search import __main__ as command
from light_peft.sweeps.cells import Failure, read_cells

RANGES = ("prune.attn=interval(0.1,0.7)", "prune.ffn=interval(0.1,0.7)")

Formula = Callable[[Iterable[str]], RunRecord | Failure]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The cells that a search asks for, which a formula answers instead of a run."""
    return answered_by(monkeypatch, formula)


def answered_by(monkeypatch: pytest.MonkeyPatch, of: Formula) -> list[tuple[str, ...]]:
    pytest.importorskip("optuna")
    asked: list[tuple[str, ...]] = []

    def run(words: tuple[str, ...]) -> RunRecord | Failure:
        asked.append(words)
        return of(words)

    monkeypatch.setattr(command, "CellRunner", lambda folder, text: run)
    return asked


def search(folder: Path, *words: str, trials: int = 4) -> int:
    return command.main([str(folder), "--trials", str(trials), "--sampler", "tpe", *words])


def found_in(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "search.json").read_text(encoding="utf-8"))
    return values


def test_what_it_leaves(tmp_path: Path, ran: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str]) -> None:
    assert search(tmp_path, "--budget", "blocks=0.6", "task=rte", *RANGES, "--seeds", "1,2", trials=6) == 0
    found = found_in(tmp_path)
    assert (found["objective"], found["cost"], found["budget"]) == ("accuracy", "blocks", {"blocks": 0.6})
    assert found["space"] == dict(word.split("=", 1) for word in RANGES)
    assert [trial["number"] for trial in found["trials"]] == list(range(6))
    assert len(ran) == 12
    assert [words[-1] for words in ran[:2]] == ["seed=1", "seed=2"]
    within = [trial for trial in found["trials"] if trial["cost"] <= 0.6]
    assert within
    assert all(trial["within_budget"] == (trial in within) for trial in found["trials"])
    assert found["trials"][found["best"]]["score"] == max(trial["score"] for trial in within)
    assert found["front"] == [trial["number"] for trial in by_cost(found["trials"]) if trial["on_front"]]
    assert found["best"] in found["front"]
    said = capsys.readouterr().err
    assert f"best with blocks at most 0.6: trial {found['best']}, score " in said
    assert said.count("the budget, 20 s") == 6
    params = found["trials"][found["best"]]["params"]
    command_line = " ".join(f"{key}={value}" for key, value in params.items())
    assert f": python -m run task=rte {command_line}\n" in said


def by_cost(trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(trials, key=lambda trial: trial["cost"])


def test_it_goes_on(tmp_path: Path, ran: list[tuple[str, ...]]) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert search(whole, *RANGES, trials=8) == 0
    assert search(parts, *RANGES, trials=3) == 0
    assert search(parts, "checkpoint.minutes=1", *reversed(RANGES), trials=8) == 0
    assert found_in(parts)["trials"] == found_in(whole)["trials"]
    assert len(found_in(parts)["commands"]) == 2
    ran.clear()
    assert search(parts, *RANGES, trials=2) == 0
    assert found_in(parts)["trials"] == found_in(whole)["trials"]


def test_another_search_is_refused(
    tmp_path: Path, ran: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert search(tmp_path, "--budget", "blocks=0.6", "train.epochs=1", *RANGES) == 0
    before = found_in(tmp_path)
    ran.clear()
    capsys.readouterr()
    words = ("--seeds", "1,2", "train.epochs=2", RANGES[0], "prune.ffn=interval(0.2,0.7)")
    assert search(tmp_path, "--budget", "memory=0.6", *words) == 2
    assert ran == []
    assert found_in(tmp_path) == before
    said = capsys.readouterr().err
    assert "holds another search; name another folder" in said
    assert "seeds is [] there and [1, 2] now" in said
    assert "budget is {'blocks': 0.6} there and {'memory': 0.6} now" in said
    assert "words is ['train.epochs=1'] there and ['train.epochs=2'] now" in said


def test_the_exit_code_is_that_of_a_failure_only_if_all_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answered_by(monkeypatch, failure_of)
    assert search(tmp_path / "all", *RANGES) == 1
    said = capsys.readouterr().err
    assert said.count(": failed: out of memory") == 4
    assert "all 4 trials have failed" in said
    answers = iter([failure_of([]), formula(["prune.attn=0.3"]), failure_of([]), failure_of([])])
    answered_by(monkeypatch, lambda words: next(answers))
    assert search(tmp_path / "some", *RANGES) == 0
    assert "3 of 4 trials have failed" in capsys.readouterr().err


def test_ctrl_c_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted_at_the_third(words: Iterable[str]) -> RunRecord | Failure:
        if len(ran) == 3:
            raise KeyboardInterrupt
        return formula(words)

    ran = answered_by(monkeypatch, interrupted_at_the_third)
    assert search(tmp_path, *RANGES) == 130
    assert "interrupted; the same command goes on with the search" in capsys.readouterr().err
    assert len(found_in(tmp_path)["trials"]) == 2
    third = ran[2]
    assert search(tmp_path, *RANGES) == 0
    assert ran[3:6] == [*ran[:2], third]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("task=rte",), "task=rte: nothing to search over"),
        ((*RANGES, "--budget", "speed=2"), "--budget speed=2: must be COST=SHARE, COST one of blocks, seconds, memory"),
        ((*RANGES, "--budget", "blocks=0"), "--budget blocks=0: must be COST=SHARE"),
        ((*RANGES, "--budget", "blocks=x"), "--budget blocks=x: must be COST=SHARE"),
        ((*RANGES, "--seeds", "1,1"), "--seeds 1,1: must be different whole numbers"),
        ((*RANGES, "--seeds", "1", "seed=2"), "--seeds 1: the words give a seed, too"),
        ((*RANGES, "--trials", "0"), "--trials 0: must be 1 or more"),
        (("prune.ffn=interval(0.5,1.5)",), "prune.ffn=1.49"),
        (("prune.fnn=interval(0.1,0.5)",), "prune.fnn: unknown key. Did you mean prune.ffn"),
        (("prune.criterion=mask,tailor",), "prune.criterion=tailor"),
        (("task=rtee", *RANGES), "task=rtee: unknown. Did you mean rte"),
    ],
)
def test_what_it_refuses(
    tmp_path: Path,
    ran: list[tuple[str, ...]],
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    message: str,
) -> None:
    assert search(tmp_path / "new", *words) == 2
    assert message in capsys.readouterr().err
    assert ran == []
    assert not (tmp_path / "new").exists()


def test_a_word_in_place_of_the_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([*RANGES]) == 2
    assert "a word where the folder of the search must stand" in capsys.readouterr().err


def test_without_optuna_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert search(tmp_path, *RANGES) == 2
    assert "a search needs Optuna: pip install 'light-peft[search]'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_real_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two trials share an estimation; the search that is called again runs neither of them again."""
    pytest.importorskip("optuna")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "a search"
    words = (*FAST, *tiny_files(tmp_path), "prune.ffn=choice(0.25,0.5)", "seed=1")
    assert search(folder, *words, "--budget", "blocks=0.9", trials=2) == 0
    cells = read_cells([folder])
    assert all(cell.status == "finished" for cell in cells)
    records = [cell.record for cell in cells if cell.record is not None]
    assert [record.estimation["reused"] for record in records] == [False, True][: len(records)]
    found = found_in(folder)
    by_key = {cell.key: cell.record for cell in cells}
    for trial in found["trials"]:
        record = by_key[trial["keys"][0]]
        assert record is not None
        assert (record.config["prune"]["ffn"], record.score) == (trial["params"]["prune.ffn"], trial["score"])
        blocks = record.parameters["blocks_after"] / record.parameters["blocks_before"]
        assert trial["cost"] == pytest.approx(blocks)
    written = {path: path.stat().st_mtime_ns for path in folder.rglob(RECORD)}
    assert search(folder, *words, "--budget", "blocks=0.9", trials=2) == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob(RECORD)} == written
    assert found_in(folder) == found
