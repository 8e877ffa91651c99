"""The machine of a run: seed, device, threads, precision, logging, versions."""

import ctypes
import gc
import logging
import os
import platform
import random
import sys
import warnings
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs, KwargsHandler, set_seed
from rich.console import Console
from rich.logging import RichHandler

from light_peft.config import RuntimeConfig

PACKAGES = ("light-peft", "torch", "transformers", "peft", "accelerate", "datasets", "evaluate", "hydra-core", "numpy")
PRECISION = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}

logger = logging.getLogger("light_peft")


def start_runtime(config: RuntimeConfig, seed: int) -> Accelerator:
    """Seed every generator, set threads and device, and return the accelerator of this run.

    Raises:
        ValueError: If the device is not there, or cannot do the precision.
    """
    device = pick_device(config.device)
    if config.precision == "fp16" and device == "cpu":
        raise ValueError("runtime.precision=fp16 needs a GPU; on a CPU take bf16 or fp32")
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    precision = pick_precision(config.precision, device)
    AcceleratorState._reset_state(reset_partial_state=True)
    # Not every trained parameter takes part in every loss: that of a head's other task, say.
    handlers: list[KwargsHandler] = [DistributedDataParallelKwargs(find_unused_parameters=True)]
    if device == "cuda" and "LOCAL_RANK" in os.environ:  # what is agreed on the host shall not wait for the device
        handlers.append(InitProcessGroupKwargs(backend="cuda:nccl,cpu:gloo"))
    accelerator = Accelerator(mixed_precision=PRECISION[precision], cpu=device == "cpu", kwargs_handlers=handlers)
    set_seed(seed)
    return accelerator


def pick_precision(wanted: str, device: str) -> str:
    """Return fp32, bf16 or fp16; `auto` is bf16 on hardware that computes it, where it is also the fastest."""
    if device == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)() if device == "cpu" else {}
        native = any(capabilities.get(name, False) for name in ("amx_bf16", "avx512_bf16", "sve_bf16"))
    if wanted == "bf16" and not native:
        logger.warning("runtime.precision=bf16 is emulated on this machine, which can be ten times slower than fp32")
    return wanted if wanted != "auto" else ("bf16" if native else "fp32")


def pick_device(wanted: str) -> str:
    """Return cuda, mps or cpu.

    Raises:
        ValueError: If the wanted device is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return next(device for device, is_there in there.items() if is_there)
    if not there.get(wanted, False):
        found = [device for device, is_there in there.items() if is_there]
        raise ValueError(f"runtime.device={wanted}: not there; this machine has {', '.join(found)}")
    return wanted


def random_states(device: torch.device) -> dict[str, Any]:
    """Return the states of the generators that `set_seed` seeds, as plain values and tensors."""
    version, words, gauss = random.getstate()
    numpy = np.random.get_state(legacy=False)  # noqa: NPY002 the global one is what libraries draw on
    assert isinstance(numpy, dict), type(numpy)
    states = {
        "python": {"version": version, "words": torch.tensor(words), "gauss": gauss},
        "numpy": {
            "words": torch.from_numpy(numpy["state"]["key"].astype(np.int64)),
            "position": int(numpy["state"]["pos"]),
            "has_gauss": int(numpy["has_gauss"]),
            "gauss": float(numpy["gauss"]),
        },
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def restore_random_states(states: dict[str, Any], device: torch.device) -> None:
    """Make every generator draw what it would have drawn when `states` were taken, on a device of the same type."""
    python, numpy = states["python"], states["numpy"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
    words = numpy["words"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", words, numpy["position"], numpy["has_gauss"], numpy["gauss"]))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
    elif device.type == "mps":
        torch.mps.set_rng_state(states["mps"])


class LogFile(logging.FileHandler):
    """A log that a full disk ends without a traceback: the run may go on, and the terminal has it all."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Say once that the log ends here, where the system is to blame."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        logger.removeHandler(self)
        logger.warning("%s ends here: %s", self.baseFilename, error.strerror)


def start_logging(log_file: Path | None, console: Console) -> logging.Handler:
    """Send the package's log to the terminal and to `log_file`, if any; return the file's handler, to be closed."""
    quiet_libraries()
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    to_file = LogFile(log_file, encoding="utf-8") if log_file is not None else logging.NullHandler()
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    to_terminal = RichHandler(
        console=console, show_path=False, show_level=False, log_time_format="[%X]", level=logging.INFO
    )
    logger.handlers = [to_file, to_terminal]
    return to_file


def quiet_libraries() -> None:
    """Silence the libraries' progress bars and load reports; our own phases show progress."""
    import datasets
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
    warnings.filterwarnings("ignore", message=".*find_unused_parameters=True was specified.*")


def hardware(accelerator: Accelerator) -> dict[str, str | int]:
    """Return what the figures of a run depend on: processor, threads, GPU, precision, processes."""
    return {
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processor": processor_name(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
        "precision": accelerator.mixed_precision.replace("no", "fp32"),
        "processes": accelerator.num_processes,
    }


def processor_name() -> str:
    """Return the processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def return_free_memory() -> None:
    """Give memory that is free but still held by the process back to the system or the accelerator."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    with suppress(OSError, AttributeError):  # glibc alone has it
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def versions() -> dict[str, str]:
    """Return the versions of python and of the packages a result depends on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
