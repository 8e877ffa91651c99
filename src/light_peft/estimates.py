"""One estimation for many runs: what it finds does not depend on how much is cut afterwards.

The end of each estimation is a checkpoint below a folder that the runs share, found again by the hash of all that it
depends on. Whatever is not named here as without influence counts, so that a new setting makes for a new estimation.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from pathlib import Path
from time import sleep
from typing import Any

from accelerate import Accelerator

from light_peft.artifacts import RunRecord, file_sha256, write_json
from light_peft.checkpoints import Checkpoint, Checkpoints
from light_peft.config import Config
from light_peft.data.locate import TRAIN
from light_peft.opening import BusyError, Lock, lock_folder
from light_peft.processes import on_main
from light_peft.settings import settings_of

OFF, AUTO = "off", "auto"
SETTINGS = "settings.json"
"""File beside an estimation that says what it is of."""
WITHOUT_INFLUENCE = (
    *("evaluate", "save", "task.metrics", "task.primary_metric", "task.submission", "train.distill"),
    *("train.eval_batch_size", "train.warmup", "train.scheduler", "train.distill_temperature", "train.micro_batches"),
    *("train.gradient_checkpointing", "train.prefix_cache", "train.prefix_cache_gb", "data.cache_dir"),
    "data.max_eval_samples",
)
"""Settings that an estimation does not read."""
AS_FACTS = (
    *("estimate.steps", "train.epochs", "train.max_steps", "runtime.threads"),
    *("data.source", "data.dir", "data.files"),
)
"""Settings that count as what they come to: a number of steps, of threads, the examples."""
OF_THE_STOP = ("estimate.check_every", "estimate.tolerance", "estimate.patience")
"""Settings that are read only where estimation ends by itself."""
OF_THE_CUT = (
    *("prune.method", "prune.attn", "prune.ffn", "prune.target", "prune.peft_module", "prune.module_depth"),
    *("prune.peft_rank", "prune.attn_scope", "prune.ffn_scope", "prune.rank_scope", "prune.fold_masks"),
    *("prune.merge_cut_peft", "prune.round_to", "prune.allow_empty", "prune.compare", "prune.threshold"),
)
"""Settings that are read behind it, unless it ends by itself, as soon as what would be cut has settled."""
ELSEWHERE = ("report", "sweeps")
"""Parts of this package that an estimation does not run through."""
POLL_SECONDS = 1.0

logger = logging.getLogger("light_peft")


def is_shared(config: Config) -> bool:
    """Return whether there is an estimation that other runs may use."""
    return config.prune.method != "none" and config.estimate.reuse not in (OFF, AUTO)


def depends_on(config: Config, record: RunRecord, steps: int, origin: str) -> dict[str, Any]:
    """Return all that the estimation of a run depends on, as plain values by name.

    Args:
        config: The run's settings.
        record: Its record, behind loading.
        steps: Optimizer steps at most.
        origin: The sha256 of the model that it begins with, PEFT and head included.
    """
    left_out: tuple[str, ...] = (*WITHOUT_INFLUENCE, *AS_FACTS)
    if config.estimate.stop == "steps":
        left_out += (*OF_THE_STOP, *OF_THE_CUT)
    if config.estimate.learning_rate is not None:
        left_out += ("train.learning_rate",)
    prefixes = tuple(f"{name}." for name in left_out)
    settings = settings_of(asdict(config))
    counting = {key: value for key, value in settings.items() if not f"{key}.".startswith(prefixes)}
    machine = {name: value for name, value in record.hardware.items() if name != "platform"}
    data = {"train": record.data["digests"][TRAIN]}
    facts = {"model": origin, "data": data, "machine": machine, "versions": record.versions, "code": code_sha256()}
    return {"steps": steps, "settings": counting, **facts}


@cache
def code_sha256() -> str:
    """Return the sha256 over those files of this package that an estimation may run through."""
    package = Path(__file__).parent
    paths = sorted(path.relative_to(package) for path in package.rglob("*.py"))
    listed = [f"{path.as_posix()} {file_sha256(package / path)}" for path in paths if path.parts[0] not in ELSEWHERE]
    return hashlib.sha256("\n".join(listed).encode()).hexdigest()


class Estimations:
    """The estimations of a folder, of which this run needs one; all processes call every method together.

    Attributes:
        folder: Where it is, or will be.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any], accelerator: Accelerator) -> None:
        """Look below `folder` for the one that depends on `facts`, those of the main process."""
        text = json.dumps(facts, sort_keys=True)
        digest = on_main(accelerator, lambda: hashlib.sha256(text.encode()).hexdigest())
        self.folder = folder / digest[:16]
        self._facts, self._accelerator = facts, accelerator
        self._store = Checkpoints(self.folder, 1, accelerator)

    @contextmanager
    def needed(self) -> Iterator[Checkpoint | None]:
        """Give the end of the estimation, made by another run; None where this run has to make it within the block.

        While another run makes it, this one waits; should that one end without, one of those that wait makes it.

        Raises:
            ValueError: If the folder cannot be used.
        """
        lock = self._wait()
        try:
            found = self._store.latest()
            if found is not None and lock is not None:
                lock.close()  # others may have it at the same time
            yield found
        finally:
            if lock is not None:
                lock.close()

    def put(self, end: Checkpoint) -> None:
        """Let other runs have the end of an estimation."""
        self._store.write(end)

    def _wait(self) -> Lock | None:
        """Return the lock on the estimation, on the main process."""
        locks: list[Lock] = []
        has_said = False
        while not on_main(self._accelerator, lambda: self._is_locked(locks)):
            if not has_said:
                logger.info("another run makes the estimation that this one needs: waits for it (%s)", self.folder)
                has_said = True
            sleep(POLL_SECONDS)
        return locks[0] if locks else None

    def _is_locked(self, locks: list[Lock]) -> bool:
        """Lock the folder of the estimation; whether nobody else has."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            locks.append(lock_folder(self.folder))
            if not (self.folder / SETTINGS).exists():
                write_json(self.folder / SETTINGS, self._facts)
        except BusyError:
            return False
        except OSError as error:
            why = f"estimations cannot be kept there ({error.strerror})"
            raise ValueError(
                f"estimate.reuse={self.folder.parent}: {why}; name another folder, or set estimate.reuse=off"
            ) from error
        return True
