"""The tables of hand-made sweeps: every figure by hand, what is missing said, the same bytes again."""

import csv
import io
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from report_cases import make_cell, make_record

from light_peft.report.overview import Overview
from light_peft.report.tables import details_table, latex, markdown, methods_table, write_tables
from light_peft.report.tidy import tidy_csv
from light_peft.sweeps.cells import Cell

LIGHT = "Light_PEFT & 1/3"
SCORES = {
    ("rte", "LoRA"): (0.80, 0.84, 0.82),
    ("rte", LIGHT): (0.78, 0.82, 0.80),
    ("cola", "LoRA"): (0.40, 0.50, 0.45),
    ("cola", LIGHT): (0.50, 0.58, 0.54),
}


def runs(task: str, label: str, seeds: tuple[int, ...] = (1, 2, 3), **values: Any) -> list[Cell]:
    """Plain runs of 20 s and 200 MiB, cut ones of 10 s and 150 MiB."""
    plain = label == "LoRA"
    metric = "matthews_correlation" if task == "cola" else "accuracy"
    records = [
        make_record(
            **{"task": task, "seed": seed, "score": SCORES[task, label][seed - 1], "seconds": 20.0 if plain else 10.0},
            **{"plain": plain, "label": label, "primary_metric": metric, **values},
        )
        for seed in seeds
    ]
    return [make_cell(one, f"task={task} method={label.split('_')[0]} seed={one.seed}") for one in records]


def sweep() -> list[Cell]:
    return [cell for task, label in SCORES for cell in runs(task, label)]


def rows_of(cells: list[Cell]) -> dict[str, dict[str, str]]:
    """The table of methods, by method and column."""
    table = methods_table(Overview(cells))
    return {row[0]: dict(zip(table.header, row, strict=True)) for row in table.rows}


def details_of(cells: list[Cell]) -> dict[tuple[str, str], tuple[str, ...]]:
    return {(row[0], row[1]): row[2:] for row in details_table(Overview(cells)).rows}


def tidy_of(cells: list[Cell]) -> dict[tuple[str, str, str], dict[str, str]]:
    rows = csv.DictReader(io.StringIO(tidy_csv(cells)))
    return {(row["task"], row["setting"], row["figure"]): row for row in rows}


def test_the_table_of_methods_by_hand() -> None:
    assert rows_of(sweep()) == {
        "LoRA": {
            **{"method": "LoRA", "rte (accuracy)": "82.0 ± 2.0", "cola (matthews_correlation)": "45.0 ± 5.0"},
            # per seed 60, 67, 63.5
            **{"average": "63.5 ± 3.5", "to plain PEFT": "1×", "blocks kept": "100.0 %", "PEFT trainables": "100"},
            **{"step speed-up": "1×", "whole-run time": "1×", "peak memory": "1×", "seeds": "3"},
        },
        LIGHT: {
            **{"method": LIGHT, "rte (accuracy)": "80.0 ± 2.0", "cola (matthews_correlation)": "54.0 ± 4.0"},
            # per seed 64, 70, 67; to LoRA -2 -2 -2 +10 +8 +9: of 64 sums of signs 16 are as far as 21
            "average": "67.0 ± 3.0",
            "to plain PEFT": "+3.5 [−2.9, +9.9], p 0.25 (6 pairs)",
            **{"blocks kept": "60.0 %", "PEFT trainables": "60"},
            **{"step speed-up": "2.00×", "whole-run time": "0.50×", "peak memory": "0.75×", "seeds": "3"},
        },
    }


def test_the_details_by_hand() -> None:
    found = details_of(sweep())
    assert found["rte", LIGHT] == (
        *("3", "80.0 ± 2.0", "[75.0, 85.0]", "LoRA", "−2.0", "[−2.0, −2.0]", "0.25", "0.25"),
        *("60.0 %", "60", "2.00× (64 examples/s)", "0.50× (10 s)", "0.75× (150 MiB)"),
    )
    assert found["rte", "LoRA"] == (
        *("3", "82.0 ± 2.0", "[77.0, 87.0]", "-", "-", "-", "-", "-"),
        *("100.0 %", "100", "1× (32 examples/s)", "1× (20 s)", "1× (200 MiB)"),
    )


def test_the_tidy_table_by_hand() -> None:
    found = tidy_of(sweep())
    assert len(found) == 4 * 7
    score = found["cola", LIGHT, "score"]
    assert {name: score[name] for name in ("n", "mean", "sd", "baseline", "difference_pairs", "difference_mean")} == {
        **{"n": "3", "mean": "54", "sd": "4", "baseline": "LoRA", "difference_pairs": "3", "difference_mean": "9"}
    }
    assert (score["difference_p_value"], score["difference_smallest_p"], score["metric"]) == (
        *("0.25", "0.25", "matthews_correlation"),
    )
    assert float(score["low"]) == pytest.approx(54 - 4.302653 * 4 / 3**0.5)
    assert score["seeds"] == "1 2 3"
    assert len(score["folders"].split()) == 3
    assert found["cola", LIGHT, "seconds"]["ratio_mean"] == "0.5"
    assert found["cola", "LoRA", "seconds"]["ratio_mean"] == ""


def test_missing_and_failed_cells_are_shown_as_such() -> None:
    words = "task=rte method=Light seed=%d"
    failed = make_cell(None, words % 2, error="ValueError: max_length=900 | too long")
    cells = [*runs("rte", "LoRA"), *runs("rte", LIGHT, (1,)), failed, make_cell(None, words % 3)]
    cells += [*runs("cola", "LoRA", (1, 2)), make_cell(None, "task=cola method=Light seed=1")]
    cells.append(make_cell(None, "task=cola method=LoRA seed=3", error="x" * 500))
    rows = rows_of(cells)
    assert rows["LoRA"]["rte (accuracy)"] == "82.0 ± 2.0"
    assert rows["LoRA"]["cola (matthews_correlation)"] == "45.0 ± 7.1 (2 of 3 seeds; 1 failed [2])"
    assert rows["LoRA"]["average"] == "63.5 ± 4.9 (2 seeds)"
    assert rows["LoRA"]["seeds"] == "2 to 3"
    assert rows[LIGHT]["rte (accuracy)"] == "78.0 (1 of 3 seeds; 1 failed [1]; 1 missing)"
    assert rows[LIGHT]["cola (matthews_correlation)"] == "missing"
    assert rows[LIGHT]["average"] == "-"
    assert rows[LIGHT]["to plain PEFT"] == "−2.0 (1 pair)"
    assert rows[LIGHT]["step speed-up"] == "2.00× (1 of 2 tasks)"
    assert rows[LIGHT]["seeds"] == "0 to 1"
    text = markdown(cells)
    assert "Without a result: 4 of 10 cells" in text
    assert "[1] rte, Light_PEFT & 1/3, seed 2 failed: ValueError: max_length=900 \\| too long" in text
    assert "`python -m run task=rte method=Light seed=2`" in text
    assert f"[2] cola, LoRA, seed 3 failed: {'x' * 160}… `" in text
    tidy = tidy_of(cells)
    assert [tidy["rte", LIGHT, "score"][name] for name in ("finished", "failed", "missing", "sd", "low")] == [
        *("1", "1", "1", "", ""),
    ]
    assert [tidy["cola", LIGHT, "score"][name] for name in ("finished", "missing", "n", "mean")] == ["0", "1", "0", ""]


def test_a_sweep_of_which_nothing_is_there_yet() -> None:
    cells = [make_cell(None, f"task=rte seed={seed}") for seed in (1, 2)]
    cells.append(make_cell(None, "task=rte seed=3", error="OSError: no"))
    (row,) = rows_of(cells).values()
    assert row["rte (score)"] == "1 failed [1]; 2 missing"
    assert set(list(row.values())[2:-1]) == {"-"}
    assert row["seeds"] == "0"
    assert "OSError: no" in latex(cells)


def test_one_seed_has_no_spread_and_no_test() -> None:
    cells = [*runs("rte", "LoRA", (1,)), *runs("rte", LIGHT, (1,))]
    assert rows_of(cells)[LIGHT]["rte (accuracy)"] == "78.0"
    assert "average" not in rows_of(cells)[LIGHT]
    assert details_of(cells)["rte", LIGHT][2:8] == ("-", "LoRA", "−2.0", "-", "-", "1")


def test_seeds_that_the_baseline_lacks_are_in_the_mean_but_not_in_the_difference() -> None:
    cells = [*runs("rte", "LoRA", (1, 2)), *runs("rte", LIGHT, (2, 3))]
    assert details_of(cells)["rte", LIGHT][:5] == ("2", "81.0 ± 1.4", "[68.3, 93.7]", "LoRA", "−2.0")
    score = tidy_of(cells)["rte", LIGHT, "score"]
    assert score["difference_pairs"] == "1"
    assert [score[f"{what}_{end}"] for what in ("difference", "ratio") for end in ("low", "high", "p_value")] == [
        ""
    ] * 6


def test_ties_are_no_difference() -> None:
    cells = [*runs("rte", "LoRA"), *runs("rte", LIGHT)]
    for cell in cells:
        assert cell.record is not None
        cell.record.score = 0.5
    assert details_of(cells)["rte", LIGHT][4:8] == ("+0.0", "[+0.0, +0.0]", "1", "0.25")


def test_a_setting_without_a_baseline_stands_alone() -> None:
    assert details_of(runs("rte", LIGHT))["rte", LIGHT][3:8] == ("-",) * 5
    assert rows_of(runs("rte", LIGHT))[LIGHT]["step speed-up"] == "-"


def test_a_baseline_that_failed_is_no_measure() -> None:
    record = make_record(status="failed", score=None, plain=True, label="LoRA")
    cells = [make_cell(record, "task=rte", error="OSError: no"), *runs("rte", LIGHT, (1,))]
    assert [row["step speed-up"] for row in rows_of(cells).values()] == ["-", "-"]
    assert details_of(cells)["rte", LIGHT][3:5] == ("LoRA", "-")


def test_records_of_an_older_layout_are_in_the_tables() -> None:
    cells = [*runs("rte", "LoRA"), *runs("rte", LIGHT)]
    for cell in cells:
        assert cell.record is not None
        record = cell.record
        record.words, record.config_sha256, record.estimation, record.git, record.hardware = [], "", {}, {}, {}
        record.versions, record.data, record.base = {}, {}, {}
        del record.totals["peak_memory_bytes"], record.phases["evaluate"], record.config["label"]
    rows = list(rows_of(cells).values())
    assert [row["peak memory"] for row in rows] == ["1×", "-"]
    assert rows[1]["whole-run time"] == "0.50×"
    assert "Data: rte: unknown" in markdown(cells)
    assert tidy_of(cells)["rte", "plain lora", "infer"]["mean"] == ""


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    texts = []
    for name in ("a", "b"):
        paths = write_tables(sweep(), tmp_path / name / "table.v1")
        assert [path.name for path in paths] == ["table.v1.md", "table.v1.tex", "table.v1.csv"]
        texts.append([path.read_bytes() for path in paths])
    assert texts[0] == texts[1]


def test_latex_is_whole() -> None:
    text = latex([*sweep(), make_cell(None, "task=rte method=Light seed=9", error="100 % of {it} failed_\\")])
    code = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    braces = re.sub(r"\\[{}]", "", code)
    assert braces.count("{") == braces.count("}")
    for body, columns in zip(code.split(r"\toprule")[1:], (11, 15), strict=True):
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {columns}
    assert r"Light\_PEFT \& 1/3" in code
    assert r"100 \% of \{it\} failed\_\textbackslash{}" in code


def test_latex_compiles(tmp_path: Path) -> None:
    if shutil.which("pdflatex") is None or not shutil.which("kpsewhich"):
        pytest.skip("needs pdflatex")
    for package in ("booktabs.sty", "adjustbox.sty"):
        if not subprocess.run(["kpsewhich", package], capture_output=True, text=True).stdout.strip():
            pytest.skip(f"needs {package}")
    error = "[1] * 100 % of {it} failed_\\ #1 ~^ <b> | $x$ − × ± é …"
    body = latex([*sweep(), make_cell(None, "task=rte method=Light seed=9", error=error)])
    head = r"\documentclass{article}\usepackage{booktabs,adjustbox}\begin{document}"
    (tmp_path / "t.tex").write_text("\n".join([head, body, r"\end{document}"]), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-draftmode", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull \\hbox" not in done.stdout


def test_markdown_has_whole_rows() -> None:
    lines = [line for line in markdown(sweep()).splitlines() if line.startswith("|")]
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in lines] == [12] * (2 + 2) + [16] * (2 + 4)


def test_the_smallest_p_is_said() -> None:
    assert "3 seeds give no p below 0.25." in markdown(sweep())
    assert "no p below" not in markdown([*runs("rte", "LoRA", (1,)), *runs("rte", LIGHT, (1,))])


def test_an_average_over_metrics_is_said_to_be_one() -> None:
    assert "over different metrics (accuracy; matthews_correlation)" in markdown(sweep())
    assert "different metrics" not in markdown([*runs("rte", "LoRA"), *runs("rte", LIGHT)])


def test_two_runs_of_a_seed_are_said() -> None:
    cells = [*runs("rte", "LoRA"), *runs("rte", LIGHT)]
    cells.append(replace(cells[0], folder=Path("again")))
    assert f"seed 1: run more than once; again counts, {cells[0].folder} does not." in markdown(cells)
