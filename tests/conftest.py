"""What every test shares: no network, one thread per worker, and the optional `shared` folder."""

import os
import tempfile

os.environ.update(
    DO_NOT_TRACK="1",
    HF_DATASETS_OFFLINE="1",
    HF_EVALUATE_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_OFFLINE="1",
    MPLBACKEND="Agg",
    OMP_NUM_THREADS="1",
    TOKENIZERS_PARALLELISM="false",
    TRANSFORMERS_OFFLINE="1",
    XDG_CACHE_HOME=tempfile.mkdtemp(prefix="light-peft-tests-"),
)

# Imported only now: the libraries read these variables once, when they are imported.
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

torch.set_num_threads(1)
# The same examples on every run, and no time limit that a busy machine could break.
settings.register_profile("light-peft", deadline=None, derandomize=True)
settings.load_profile("light-peft")


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """`shared(name)` is the path of `../shared/<name>`; where that is missing, the test is skipped by name."""

    def path_of(name: str) -> Path:
        path = ROOT.parent / "shared" / name
        if not path.exists():
            pytest.skip(f"needs ../shared/{name}, which is not there")
        return path

    return path_of
