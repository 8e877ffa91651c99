"""The benchmark of steps on a tiny model: every case has its figures, and they are of what they say."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import bench


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
    assert len(written["cases"]) == 13
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
    assert cases["estimate"]["flop_ratio"] == pytest.approx(1, abs=0.01)
    assert cases["infer 1/2, batch 4"]["flop_ratio"] == pytest.approx(0.5, abs=0.02)


def test_what_is_kept_for_the_backward_pass_is_counted_once() -> None:
    layer, x = nn.Linear(8, 8, bias=False), torch.randn(4, 8, requires_grad=True) * 1
    with bench.saved_for_backward([layer.weight]) as saved:
        y = (layer(x) ** 2).sum() + (x * 2).exp().sum()  # x for the matrix, the product to square, the exponential
    assert sum(saved.values()) == (4 * 8 + 4 * 8 + 4 * 8) * 4, (
        "x for the matrix, its product to square, the exponential"
    )
    y.backward()


def test_the_files_of_measurements_are_of_this_form() -> None:
    for file in Path(__file__).parents[1].glob("docs/bench/*.json"):
        content = json.loads(file.read_text(encoding="utf-8"))
        assert {"hardware", "versions", "model", "batch", "length", "rounds", "config", "cases"} <= set(content)
