"""The comparison of a sweep: grouping, ratios paired by seed, spread."""

from pathlib import Path
from typing import Any

import pytest

from light_peft.artifacts import RunRecord
from light_peft.report.__main__ import main
from light_peft.report.compare import markdown, read_records, settings_of, spread


def write_run(
    folder: Path,
    *,
    seed: int,
    method: str,
    score: float,
    seconds: float,
    status: str = "finished",
    **settings: Any,
) -> None:
    folder.mkdir(parents=True)
    shares = {"attn": 1 / 3, "ffn": 0.4, "peft_module": 0.75, "peft_rank": 0.5}
    prune = {"method": method, "criterion": "mask", **shares, **settings}
    after = 1000 if method == "none" else 600
    RunRecord(
        status=status,
        task="rte",
        peft="lora",
        seed=seed,
        config={"prune": prune, "seed": seed},
        primary_metric="accuracy",
        score=score,
        parameters={
            "blocks_before": 1000,
            "blocks_after": after,
            "trainable_before": 90,
            "trainable_after": after // 10,
        },
        phases={"train": {"examples": 100, "seconds": seconds}},
        totals={"seconds": 2 * seconds},
    ).write(folder)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    write_run(tmp_path / "0", seed=1, method="light_peft", score=0.80, seconds=5.0)
    write_run(tmp_path / "1", seed=1, method="none", score=0.84, seconds=10.0)
    write_run(tmp_path / "2", seed=2, method="light_peft", score=0.82, seconds=6.0)
    write_run(tmp_path / "3", seed=2, method="none", score=0.86, seconds=9.0)
    write_run(tmp_path / "4", seed=3, method="none", score=0.99, seconds=1.0, status="failed")
    return tmp_path


def test_ratios_are_paired_by_seed_and_failed_runs_left_out(sweep: Path) -> None:
    plain, cut = settings_of(read_records([sweep]))
    assert plain.is_baseline
    assert [len(setting.records) for setting in (plain, cut)] == [2, 2]
    row = markdown([plain, cut]).splitlines()[-1]
    assert "accuracy 81.0 ± 1.4" in row
    assert "60.0 ± 0.0 %" in row
    assert "1.75 ± 0.35x" in row, "step speed-up: 10/5 and 9/6"
    assert "0.58 ± 0.12x" in row, "whole run: 5/10 and 6/9"


def test_a_setting_is_named_by_what_differs(sweep: Path) -> None:
    write_run(sweep / "5", seed=1, method="light_peft", score=0.7, seconds=5.0, criterion="random")
    names = [setting.name for setting in settings_of(read_records([sweep]))]
    cut = "lora, cut attn 0.333, ffn 0.4, peft_module 0.75, peft_rank 0.5"
    assert names == ["plain lora", f"{cut}, prune.criterion=mask", f"{cut}, prune.criterion=random"]


def test_a_setting_with_a_target_is_named_by_it(sweep: Path) -> None:
    for number, asked in enumerate((0.5, 0.5, 0.6)):
        target = {"speedup": None, "blocks": asked}
        folder = sweep / f"target {number}"
        write_run(folder, seed=number, method="light_peft", score=0.7, seconds=5.0, target=target)
    settings = settings_of(read_records([sweep]))
    found = {setting.name: len(setting.records) for setting in settings if "cut to" in setting.name}
    ending = "peft_module 0.75, peft_rank 0.5"
    assert found == {f"lora, cut to blocks 0.5, {ending}": 2, f"lora, cut to blocks 0.6, {ending}": 1}


def test_one_value_has_no_spread() -> None:
    assert spread([1.25], 1) == "1.2"


def test_the_command(sweep: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["report", str(sweep)])
    assert main() == 0
    assert capsys.readouterr().out.startswith("| task | setting |")
    (sweep / "empty").mkdir()
    monkeypatch.setattr("sys.argv", ["report", str(sweep / "empty")])
    assert main() == 2
    assert "no finished run found" in capsys.readouterr().err
