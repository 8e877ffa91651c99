"""What runs ran on: each thing once, and a warning where runs that are compared do not share it."""

from pathlib import Path
from typing import Any

from report_cases import make_cell, make_record

from light_peft.report.provenance import provenance_of
from light_peft.report.tables import latex, markdown
from light_peft.sweeps.cells import Cell, ask, read_cells

DIGESTS = {"train": "aa" * 32, "validation": "bb" * 32}


def run(**values: Any) -> Cell:
    return make_cell(make_record(**values))


def data(**digests: str) -> dict[str, Any]:
    return {"rows": {"train": 320, "validation": 1000}, "digests": DIGESTS | digests}


def test_each_thing_is_said_once() -> None:
    found = provenance_of([run(seed=seed, data=data(), base={"source": "hub"}) for seed in (1, 2)])
    assert found.machines == ("a processor, 2 threads, fp32",)
    assert found.versions == ("python 3.11.0, torch 2.13.0",)
    assert found.commits == ("0123456789ab",)
    assert found.models == ("tiny from hub",)
    assert found.data == (f"rte: train 320 rows (sha256 {'aa' * 6}), validation 1,000 rows (sha256 {'bb' * 6})",)
    assert not found.warnings


def test_what_is_not_shared_is_warned_of() -> None:
    here, there = make_record(seed=1), make_record(seed=2)
    there.hardware = here.hardware | {"gpu": "a GPU", "processes": 2}
    there.versions = here.versions | {"torch": "2.12.0"}
    there.git = here.git | {"dirty": True}
    found = provenance_of([make_cell(here), make_cell(there)])
    assert found.machines[1] == "a GPU, a processor, 2 threads, fp32, 2 processes"
    assert found.commits[1] == "0123456789ab with uncommitted changes"
    assert [line.split(";")[0] for line in found.warnings] == [
        "The runs are of 2 different machines or settings of them",
        "The runs are of 2 different sets of package versions",
        "The runs are of 2 different states of the code",
    ]
    assert found.warnings[0] in markdown([make_cell(here), make_cell(there)])
    assert found.warnings[0] in latex([make_cell(here), make_cell(there)])


def test_training_examples_may_differ_between_seeds_and_no_others() -> None:
    drawn = [run(seed=1, data=data(train="c" * 64)), run(seed=2, data=data(train="d" * 64))]
    assert not provenance_of(drawn).warnings
    assert "train 320 rows (2 samples)" in provenance_of(drawn).data[0]
    within = [run(seed=1, data=data(train="c" * 64)), run(seed=1, data=data(train="d" * 64), plain=True)]
    assert provenance_of(within).warnings == ("rte: the train examples of seed 1 are not the same in all runs.",)
    scored = [run(seed=1, data=data(validation="c" * 64)), run(seed=2, data=data())]
    assert provenance_of(scored).warnings == ("rte: the validation examples are not the same in all runs.",)
    tasks = [run(task="rte", data=data(validation="c" * 64)), run(task="cola", data=data())]
    assert not provenance_of(tasks).warnings


def test_runs_that_have_not_finished_say_nothing() -> None:
    broken = make_record(seed=2, status="failed", score=None)
    broken.git = {"commit": None, "dirty": None}
    assert provenance_of([run(seed=1), make_cell(broken)]).commits == ("0123456789ab",)
    assert provenance_of([make_cell(broken)]).commits == ()


def test_outside_a_checkout_is_said() -> None:
    assert provenance_of([run(git={"commit": None, "dirty": None})]).commits == ("outside a git checkout",)


def test_the_cost_of_shared_estimations() -> None:
    made = run(seed=1, seconds=100.0, estimation={"reused": False, "seconds": 10.0, "spent": 10.0})
    taken = [
        run(seed=seed, seconds=100.0, estimation={"reused": True, "seconds": 10.0, "spent": 0.5}) for seed in (2, 3)
    ]
    alone, plain = run(seed=4, seconds=50.0), run(seed=1, plain=True)
    assert provenance_of([made, *taken, alone, plain]).estimation == (
        "2 made, 2 taken over from another run; 16 s spent, 35 s charged"
    )
    assert provenance_of([plain]).estimation == ""
    assert "Estimations: 1 made, 2 taken" in markdown([made, *taken])


def test_the_commands_of_a_sweep_are_given(tmp_path: Path) -> None:
    words = ["task=rte", "seed=1"]
    ask(tmp_path, [words], "python -m run -m task=rte seed=1,2")
    (cell,) = read_cells([tmp_path])
    folder = tmp_path / f"rte-{cell.key}"
    folder.mkdir()
    make_record().write(folder)
    cells = read_cells([tmp_path])
    assert provenance_of(cells).commands == ("python -m run -m task=rte seed=1,2",)
    assert "    python -m run -m task=rte seed=1,2" in markdown(cells)
