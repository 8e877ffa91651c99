"""Bad inputs by chance, some of every kind: one clear message, exit code 2, nothing half-written.

`scripts/fuzz.py` tries as many as one likes.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.case import Case, Verdict, judge, snapshot
from fuzz.draw import KINDS, draw
from fuzz.stock import Stock
from light_peft.config import Config, lookup

EACH = 3
"""Inputs of a kind."""
NUM_REFUSED = 100


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Stock:
    return Stock(tmp_path_factory.mktemp("stock"))


@pytest.fixture(scope="module")
def verdicts(stock: Stock, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[Case, Verdict]]]:
    """What came of some inputs of each kind."""
    found: dict[str, list[tuple[Case, Verdict]]] = {}
    for kind in KINDS:
        cases = draw(kind, EACH)
        found[kind] = [(case, judge(case, stock, tmp_path_factory.mktemp("case") / "given")) for case in cases]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_each_bad_input_gives_one_message(verdicts: dict[str, list[tuple[Case, Verdict]]], kind: str) -> None:
    assert verdicts[kind], "nothing was drawn"
    assert not [f"{case.kind}, {case.what}: {came.offence}" for case, came in verdicts[kind] if came.offence]


def test_most_are_refused(verdicts: dict[str, list[tuple[Case, Verdict]]]) -> None:
    refused = [case for each in verdicts.values() for case, came in each if came.message is not None]
    assert len({(case.kind, case.what) for case in refused}) >= NUM_REFUSED
    for kind, each in verdicts.items():
        may_all_pass = all(case.may_pass for case, _ in each)
        assert may_all_pass or any(came.message for _, came in each), f"no input of {kind} was refused"


def test_the_same_number_draws_the_same_inputs() -> None:
    first, again, other = (draw("files.wrong_labels", 6, number) for number in (1, 1, 2))
    assert [case.what for case in first] == [case.what for case in again] != [case.what for case in other]
    assert len({case.what for case in first}) == 6


def test_every_key_that_is_tried_is_one(stock: Stock) -> None:
    from fuzz.settings import KEYS

    for key in KEYS:
        lookup(Config(), key)
    assert len(KEYS) > 100


# The judge is judged, too: each thing that it looks for is shown to it.


def verdict_on(stock: Stock, folder: Path, *words: str, names: str = r"\S", **more: bool) -> str:
    came = judge(Case("own", "own", lambda inside, _: list(words), names, **more), stock, folder / "given")
    return str(came.offence)


def test_the_judge_sees_what_is_taken_or_said_badly(stock: Stock, tmp_path: Path) -> None:
    assert "exit code 0, not 2" in verdict_on(stock, tmp_path / "a", "prune=none")
    assert "does not name 'train'" in verdict_on(stock, tmp_path / "b", "seed=-1", names="train")
    assert verdict_on(stock, tmp_path / "c", "seed=-1", names="seed") == "None"


def test_the_judge_sees_what_is_left_behind(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    before = snapshot(tmp_path)
    (tmp_path / "a.txt").write_text("b")
    (tmp_path / ".b.json.7.part").touch()
    assert snapshot(tmp_path).keys() - before.keys() == {".b.json.7.part"}
    assert snapshot(tmp_path)["a.txt"] != before["a.txt"]


def test_a_process_of_its_own_says_the_same(tmp_path: Path) -> None:
    """In a real process: the message on stderr once, exit code 2, no folder but the run's."""
    (tmp_path / "bad.jsonl").write_text(json.dumps({"sentence1": "\ud800", "sentence2": "b", "label": "entailment"}))
    words = ["debug=smoke", "runtime.device=cpu", "data.files.train=bad.jsonl", "run_dir=run"]
    done = subprocess.run(
        [sys.executable, "-m", "run", *words], cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("error: ") == 1
    assert "Traceback" not in done.stdout + done.stderr
    message = done.stderr.partition("error: ")[2].strip()
    assert message.startswith("bad.jsonl, line 1 holds half a character")
    assert message in json.loads((tmp_path / "run" / "result.json").read_text())["error"]
    assert {path.name for path in tmp_path.iterdir()} == {"bad.jsonl", "run"}
