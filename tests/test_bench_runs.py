"""Whole runs compared: equal steps on both sides, figures that are ratios to plain PEFT of the same seed."""

import itertools
import json
import sys
from pathlib import Path

import pytest

import bench_runs
from bench_runs import Case
from light_peft import door
from light_peft.artifacts import RunRecord
from matrix import composed

TINY = ["task=demo", "model=tiny_bert"]


def made_up(case: Case, seed: int, _: list[str], __: Path) -> RunRecord:
    """Return a record whose figures can be followed by hand: plain takes 100 s times the seed, all else half of it."""
    share = 1.0 if case.name == bench_runs.BASELINE else 0.5
    seconds = {"load": 10.0, "estimate": 20.0, "surgery": 0.0, "train": 60.0, "evaluate": 10.0}
    return RunRecord(
        status="finished",
        seed=seed,
        score=0.8,
        phases={name: {"seconds": value * share * seed} for name, value in seconds.items()},
        totals={
            "seconds": 100.0 * share * seed,
            "peak_memory_bytes": 400 * share + 100,
            "memory_at_start_bytes": 100,
        },
    )


def test_all_cases_have_the_same_number_of_steps() -> None:
    door.register()
    for case in bench_runs.cases(300, 30, ladder=True):
        config = composed(*TINY, *case.words)
        steps = config.train.max_steps + (config.estimate.steps if config.prune.method != "none" else 0)
        assert steps == 300, case.name


def test_means_come_one_after_the_other() -> None:
    found = bench_runs.cases(300, 30, ladder=True)
    thirds = [case for case in found if case.name.startswith("1/3")]
    assert len(thirds) == len(bench_runs.MEANS)
    for before, after in itertools.pairwise(thirds):
        assert after.words[: len(before.words)] == before.words
        assert len(after.words) == len(before.words) + 1
    assert len({case.folder for case in found}) == len(found)
    last = [case for case in bench_runs.cases(300, 30, ladder=False) if case.name.startswith("1/3")]
    assert last == thirds[-2:]


def test_figures_are_ratios_to_plain_peft_of_the_same_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_runs, "record_of", made_up)
    file, said = tmp_path / "runs.json", list[str]()
    words = [str(tmp_path), "--steps", "30", "--estimation", "3", "--seeds", "1,2", "--json", str(file), *TINY]
    monkeypatch.setattr(sys, "argv", ["bench_runs.py", *words])
    bench_runs.main(said.append)
    assert said[0] == "case | time | steps' time | memory | memory net | score"
    assert said[1] == "plain | 1.00 ± 0.00 | 1.00 ± 0.00 | 1.00 ± 0.00 | 1.00 ± 0.00 | 80.0 ± 0.0"
    assert said[3].endswith(" | 0.50 ± 0.00 | 0.50 ± 0.00 | 0.60 ± 0.00 | 0.50 ± 0.00 | 80.0 ± 0.0")
    content = json.loads(file.read_text(encoding="utf-8"))
    assert content["command"] == TINY
    assert [run["seed"] for run in content["runs"]["plain"]] == [1, 2]
    assert content["runs"]["plain"][1]["steps' time"] == 160


def test_the_files_of_measurements_are_of_this_form() -> None:
    files = [*Path(__file__).parents[1].glob("docs/bench/runs/*.json")]
    assert files
    for file in files:
        content = json.loads(file.read_text(encoding="utf-8"))
        assert {"hardware", "versions", "command", "runs"} == set(content)
        assert all(run["time"] > 0 for runs in content["runs"].values() for run in runs)
