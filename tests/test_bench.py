"""The benchmark of steps on a tiny model: every case has its figures, and they are of what they say."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import bench
import bench_rounds


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the command writes."""
    file = tmp_path_factory.mktemp("bench") / "bench.json"
    words = ["tiny_bert", "--batch", "4", "--length", "16", "--rounds", "2", "--json", str(file)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["bench.py", *words, "runtime.device=cpu", "runtime.threads=1"])
        bench.main()
    return json.loads(file.read_text(encoding="utf-8"))


def test_every_case_has_its_figures(written: dict[str, Any]) -> None:
    assert len(written["cases"]) == 22
    assert all(case["seconds"] > 0 and case["flop_ratio"] > 0 for case in written["cases"].values())
    assert written["hardware"]["processes"] == 1
    assert written["versions"]["torch"]
    assert (written["batch"], written["length"], written["rounds"]) == (4, 16, 2)


def test_what_is_cut_is_not_computed_and_not_kept(written: dict[str, Any]) -> None:
    cases = written["cases"]
    assert cases["train plain"]["ratio"] == cases["train plain"]["flop_ratio"] == 1
    for kind in ("flop_ratio", "saved_ratio"):
        order = ["train 1/2, modules from the top", "train 1/3, modules from the top", "train 1/3", "train plain"]
        values = [cases[name][kind] for name in order]
        assert values == sorted(values)
        assert values[-2] < 0.8
    assert cases["estimate"]["flop_ratio"] == pytest.approx(1, abs=0.02)
    assert cases["infer 1/2, batch 4"]["flop_ratio"] == pytest.approx(0.5, abs=0.02)
    apart = cases["infer plain, adapter not merged, batch 4"]["flop_ratio"]
    assert apart > 1
    against = cases["infer 1/2, against the adapter not merged, batch 4"]["flop_ratio"]
    assert against == pytest.approx(cases["infer 1/2, batch 4"]["flop_ratio"] / apart)


def test_pairs_are_held_against_each_other_alone() -> None:
    there: list[str] = []

    def case(name: str, against: str) -> bench_rounds.Case:
        def build() -> bench_rounds.Built:
            there.append(name)
            layer = nn.Linear(4, 4)
            return bench_rounds.Built(layer, lambda: layer(torch.ones(2, 4)), lambda: there.remove(name))

        return bench_rounds.Case(name, against, build)

    cases = [case("plain", "plain"), case("one", "plain"), case("other", "one")]
    bench_rounds.measure(cases, 3, torch.device("cpu"), by_pairs=True)
    assert not there
    assert all(len(each.seconds) == len(each.beside) == 3 for each in cases)
    assert bench_rounds.line_of(cases[0], cases[0])["ratio"] == 1
    assert cases[1].peak_bytes >= (4 * 4 + 4) * 4


def test_the_allocation_of_a_step_is_its_peak() -> None:
    def step() -> None:
        for rows in (100, 300, 200):
            (torch.ones(rows, 10) + 1).sum()

    assert 2 * 300 * 10 * 4 <= bench_rounds.allocated_by(step) < 2 * 300 * 10 * 4 + 1000


def test_estimation_costs_what_training_costs(written: dict[str, Any]) -> None:
    cases = written["cases"]
    assert cases["estimate, a step that counts"]["saved_ratio"] == pytest.approx(1, abs=0.02)
    assert cases["estimate, 4 micro-batches"]["flop_ratio"] == pytest.approx(1, abs=0.06)  # a model of a few weights
    assert cases["estimate, 4 micro-batches"]["saved_ratio"] < 0.3
    assert cases["estimate, checkpointing"]["flop_ratio"] > 1.2
    assert cases["estimate, checkpointing"]["peak_ratio"] < cases["estimate, a step that counts"]["peak_ratio"]


def test_the_files_of_measurements_are_of_this_form() -> None:
    for file in Path(__file__).parents[1].glob("docs/bench/*.json"):
        content = json.loads(file.read_text(encoding="utf-8"))
        assert {"hardware", "versions", "model", "batch", "length", "rounds", "config", "cases"} <= set(content)
