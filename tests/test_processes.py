"""Two real processes against one: a step of both is a step of one, and what one knows the other hears."""

import socket
from itertools import product
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import multiprocessing

import prefix_cases
from light_peft import artifacts
from light_peft.config import RuntimeConfig
from light_peft.processes import any_of, on_main, sum_over
from light_peft.runtime import start_runtime
from process_cases import trained, work

COUNT = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes have left."""
    place = tmp_path_factory.mktemp("processes")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    multiprocessing.spawn(work, args=(COUNT, port, str(place)), nprocs=COUNT)
    return place


def test_a_step_of_two_processes_is_a_step_of_one(folder: Path) -> None:
    """With unequal shares, one of them empty, two forward passes a step, a penalty, clipping, an unused parameter."""
    parameters, told = trained(start_runtime(RuntimeConfig(device="cpu", precision="fp32"), 0))
    for rank in range(COUNT):
        found = load_file(folder / f"{rank}.safetensors")
        assert found.pop("told").tolist() == pytest.approx(told, rel=1e-6)
        torch.testing.assert_close({name: found[name] for name in parameters}, parameters, atol=1e-6, rtol=1e-5)


def test_sums_are_those_of_all(folder: Path) -> None:
    for rank in range(COUNT):
        found = load_file(folder / f"{rank}.safetensors")
        assert (found["sum.0"].tolist(), found["sum.1"].tolist()) == ([2.0, 1.0], [10.0])


def test_all_hear_what_one_has_found(folder: Path) -> None:
    main, other = ((folder / f"{rank}.txt").read_text(encoding="utf-8").splitlines() for rank in range(COUNT))
    assert main[0] == other[0] == "('of', 0)"
    assert main[1] == other[1] == "ValueError: no more of this"
    assert (main[2], other[2]) == ("OSError: no more of this", "RuntimeError: the main process failed: no more of this")
    assert main[3].startswith("train: the loss is not finite at step 2 of this phase; lower train.learning_rate")
    assert other[3] == main[3], "the loss was one of the second process"
    assert main[4] == other[4] == "(True, True, False)"


def test_a_phase_leaves_nothing_wrapped_behind(folder: Path) -> None:
    for rank in range(COUNT):
        assert (folder / f"{rank}.txt").read_text(encoding="utf-8").splitlines()[5] == "0 models left"


def test_processes_share_one_estimation_and_each_gets_its_own_part(folder: Path) -> None:
    """Whatever the others see, it is that of the main process's settings."""
    main, other = ((folder / f"{rank}.txt").read_text(encoding="utf-8").splitlines()[6:] for rank in range(COUNT))
    (made,) = (folder / "estimates").iterdir()
    assert main == ["none", "0 0", made.name]
    assert other == ["none", "0 1", made.name]


def test_a_prefix_that_two_have_written_is_that_of_one(folder: Path) -> None:
    """Each process reads what the other has computed, and trains as without it, and as one process does."""
    alone = start_runtime(RuntimeConfig(device="cpu", precision="fp32"), 0)
    expected = prefix_cases.trained(alone, folder / "alone", prefix_cache="exact")
    assert expected.is_read
    for rank, wanted in product(range(COUNT), ("off", "exact")):
        found = load_file(folder / f"{rank}.{wanted}")
        torch.testing.assert_close(found, expected.parameters, atol=2e-6, rtol=1e-5)
    written, of_one = (list((folder / name / artifacts.CHECKPOINTS).iterdir()) for name in ("run", "alone"))
    assert [path.stat().st_size for path in written] == [path.stat().st_size for path in of_one]


def test_one_process_asks_nobody() -> None:
    accelerator = start_runtime(RuntimeConfig(device="cpu", precision="fp32"), 0)
    assert on_main(accelerator, lambda: 7) == 7
    assert any_of(accelerator, True, False) == (True, False)
    tensor = torch.ones(2)
    assert sum_over(accelerator, tensor)[0] is tensor
