"""One estimation for many runs: what it finds does not depend on how much is cut afterwards.

The end of each estimation is a checkpoint below a folder that the runs share, found again by the hash of all that it
depends on. Whatever is not named here as without influence counts, so that a new setting makes for a new estimation.
"""

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from light_peft.artifacts import RunRecord, write_json
from light_peft.checkpoints import Checkpoint, Checkpoints
from light_peft.config import Config
from light_peft.opening import BusyError, Lock, lock_folder
from light_peft.processes import on_main
from light_peft.settings import settings_of
from light_peft.writing import written

OFF, AUTO = "off", "auto"
SETTINGS = "settings.json"
"""File beside an estimation that says what it is of."""
WITHOUT_INFLUENCE = (
    *("evaluate", "save", "data.cache_dir", "data.max_eval_samples", "data.files.validation", "data.files.test"),
    *("estimate.steps", "estimate.reuse", "runtime.threads", "task.metrics", "task.primary_metric", "task.submission"),
    *("train.epochs", "train.max_steps", "train.eval_batch_size", "train.warmup", "train.scheduler", "train.distill"),
    *("train.distill_temperature", "train.micro_batches", "train.gradient_checkpointing", "train.prefix_cache"),
    "train.prefix_cache_gb",
)
"""Settings that an estimation does not read; its number of steps is a fact of its own."""
OF_THE_CUT = (
    *("prune.method", "prune.attn", "prune.ffn", "prune.target", "prune.peft_module", "prune.module_depth"),
    *("prune.peft_rank", "prune.attn_scope", "prune.ffn_scope", "prune.rank_scope", "prune.fold_masks"),
    *("prune.merge_cut_peft", "prune.round_to", "prune.allow_empty", "prune.threshold"),
)
"""Settings that are read behind it, unless it ends by what would be cut."""
POLL_SECONDS = 1.0

logger = logging.getLogger("light_peft")


def depends_on(config: Config, record: RunRecord, steps: int) -> dict[str, Any]:
    """Return all that the estimation of `steps` steps of a run depends on, as plain values by name.

    Args:
        config: The run's settings.
        record: Its record, behind loading.
        steps: Optimizer steps at most.
    """
    left_out = WITHOUT_INFLUENCE if config.estimate.stop == "settled" else WITHOUT_INFLUENCE + OF_THE_CUT
    if config.estimate.learning_rate is not None:
        left_out += ("train.learning_rate",)
    prefixes = tuple(f"{name}." for name in left_out)
    settings = {
        key: value
        for key, value in settings_of(asdict(config)).items()
        if key not in left_out and not key.startswith(prefixes)
    }
    machine = {name: record.hardware[name] for name in ("gpu", "precision", "processes")}
    data = {name: digest for name, digest in record.data["digests"].items() if name.startswith("train")}
    facts = {"versions": record.versions, "commit": record.git, "machine": machine, "base": record.base, "data": data}
    return {"steps": steps, "settings": settings, **facts}


def shared_estimation(config: Config, record: RunRecord, steps: int, accelerator: Accelerator) -> "Estimations | None":
    """Return where the estimation of `steps` steps is shared with other runs; None if it is not."""
    if config.estimate.reuse in (OFF, AUTO):
        return None
    return Estimations(Path(config.estimate.reuse), depends_on(config, record, steps), accelerator)


class Estimations:
    """The estimations of a folder, of which this run needs one; all processes call every method together.

    Attributes:
        folder: Where it is, or will be.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any], accelerator: Accelerator) -> None:
        """Look below `folder` for the one that depends on `facts`."""
        text = json.dumps(facts, sort_keys=True)
        self.folder = folder / hashlib.sha256(text.encode()).hexdigest()[:16]
        self._facts, self._accelerator = facts, accelerator
        self._store = Checkpoints(self.folder, 1, accelerator)

    @contextmanager
    def needed(self) -> Iterator[Checkpoint | None]:
        """Give the end of the estimation, made by another run; None where this run has to make it within the block.

        While another run makes it, this one waits.
        """
        lock = self._wait()
        try:
            found = self._store.latest()
            if found is not None and lock is not None:
                lock.close()  # others may read it at the same time
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
            time.sleep(POLL_SECONDS)
        return locks[0] if locks else None

    def _is_locked(self, locks: list[Lock]) -> bool:
        """Lock the folder of the estimation; whether nobody else has."""
        with written(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        try:
            locks.append(lock_folder(self.folder))
        except BusyError:
            return False
        if not (self.folder / SETTINGS).exists():
            write_json(self.folder / SETTINGS, self._facts)
        return True
