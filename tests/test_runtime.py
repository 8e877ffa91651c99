import logging
import random
import subprocess
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from light_peft import checkout, runtime
from light_peft.checkout import git_state
from light_peft.config import RuntimeConfig
from light_peft.runtime import hardware, pick_device, pick_precision, start_logging, start_runtime, versions

ON_CPU = {"device": "cpu", "precision": "fp32"}


@pytest.fixture
def logger(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    """The package's logger, as it is before any run."""
    logger = logging.getLogger("light_peft")
    level = logger.level
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", True)
    yield logger
    logger.setLevel(level)


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.random()), float(torch.rand(()))  # noqa: NPY002 the global one is seeded


def test_one_seed_for_every_generator() -> None:
    start_runtime(RuntimeConfig(**ON_CPU), 7)
    first = draws()
    start_runtime(RuntimeConfig(**ON_CPU), 7)
    assert draws() == first
    start_runtime(RuntimeConfig(**ON_CPU), 8)
    assert all(now != before for now, before in zip(draws(), first, strict=True))


def test_each_run_has_its_own_precision() -> None:
    for precision, expected in (("bf16", "bf16"), ("fp32", "no"), ("bf16", "bf16")):
        accelerator = start_runtime(RuntimeConfig(device="cpu", precision=precision), 0)
        assert accelerator.mixed_precision == expected
        assert accelerator.device.type == "cpu"


def test_threads() -> None:
    before = torch.get_num_threads()
    try:
        start_runtime(RuntimeConfig(**ON_CPU, threads=2), 0)
        assert torch.get_num_threads() == 2
        start_runtime(RuntimeConfig(**ON_CPU), 0)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_half_precision_needs_a_gpu() -> None:
    with pytest.raises(ValueError, match=r"^runtime\.precision=fp16 needs a GPU; on a CPU take bf16 or fp32$"):
        start_runtime(RuntimeConfig(device="cpu", precision="fp16"), 0)


@pytest.fixture
def no_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.usefixtures("no_accelerator")
@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_there(device: str) -> None:
    with pytest.raises(ValueError, match=rf"^runtime\.device={device}: not there; this machine has cpu$"):
        pick_device(device)


@pytest.mark.usefixtures("no_accelerator")
def test_auto_takes_the_fastest_device_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick_device("auto") == pick_device("cpu") == "cpu"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device("auto") == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto") == "cuda"


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [({}, "fp32"), ({"avx512_bf16": False}, "fp32"), ({"avx2": True}, "fp32"), ({"amx_bf16": True}, "bf16")],
)
def test_auto_precision_follows_the_processor(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], expected: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert pick_precision("auto", "cpu") == expected
    assert pick_precision("auto", "mps") == "fp32"
    assert pick_precision("fp32", "cpu") == "fp32"


@pytest.mark.usefixtures("logger")
@pytest.mark.parametrize("native", [True, False])
def test_emulated_bf16_warns(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, native: bool) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": native}, raising=False)
    assert pick_precision("bf16", "cpu") == "bf16"
    assert ("is emulated on this machine" in caplog.text) != native


def test_the_log_goes_to_the_terminal_and_to_the_file(tmp_path: Path, logger: logging.Logger) -> None:
    said = StringIO()
    handler = start_logging(tmp_path / "run.log", Console(file=said, width=120))
    logging.getLogger("light_peft.data.load").warning("tiny: 3 lines [bold]left out[/]")
    logger.debug("not for people")
    handler.close()
    assert "tiny: 3 lines [bold]left out[/]" in said.getvalue()
    written = (tmp_path / "run.log").read_text(encoding="utf-8")
    assert "WARNING tiny: 3 lines [bold]left out[/]" in written
    assert "not for people" not in said.getvalue()


def test_a_second_run_does_not_write_into_the_first_log(tmp_path: Path, logger: logging.Logger) -> None:
    console = Console(file=StringIO())
    for name in ("first", "second"):
        handler = start_logging(tmp_path / name, console)
        logger.info(f"this is {name}")
        logger.removeHandler(handler)
        handler.close()
    assert "second" not in (tmp_path / "first").read_text(encoding="utf-8")


def test_versions_and_hardware_are_plain_values() -> None:
    found = versions()
    assert {"python", "light-peft", "torch", "transformers", "peft"} <= set(found)
    assert "not installed" not in found.values()
    assert found["torch"].startswith(torch.__version__.split("+")[0])
    described = hardware(start_runtime(RuntimeConfig(device="cpu", precision="fp32"), 0))
    assert described["threads"] == torch.get_num_threads()
    assert all(isinstance(value, str | int) for value in described.values())


def test_a_package_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "PACKAGES", ("no-such-package",))
    assert versions()["no-such-package"] == "not installed"


@pytest.mark.parametrize(
    "error", [FileNotFoundError("git"), subprocess.CalledProcessError(128, "git"), subprocess.TimeoutExpired("git", 10)]
)
def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object) -> str:
        raise error

    monkeypatch.setattr(checkout, "_git", fail)
    assert git_state() == {"commit": None, "dirty": None}


@pytest.mark.parametrize(("changes", "dirty"), [("", False), (" M src/run.py", True)])
def test_commit_and_whether_it_has_changes(monkeypatch: pytest.MonkeyPatch, changes: str, dirty: bool) -> None:
    monkeypatch.setattr(checkout, "_git", lambda _, word, *__: "abc" if word == "rev-parse" else changes)
    assert git_state() == {"commit": "abc", "dirty": dirty}
