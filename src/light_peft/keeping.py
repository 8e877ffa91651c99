"""A run that is killed goes on: what a checkpoint holds of it, and when one is written."""

import logging
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch import nn

from light_peft import artifacts
from light_peft.artifacts import RunRecord
from light_peft.checkpoints import Checkpoint, Checkpoints, State
from light_peft.config import CheckpointConfig
from light_peft.estimates import Estimations
from light_peft.interrupts import Interrupted, Interrupts
from light_peft.meter import Meter
from light_peft.processes import on_main
from light_peft.runtime import random_states, restore_random_states
from light_peft.training.loop import Keeper, Phase

STAGES = ("estimate", "train", "evaluate")
"""Of what there are checkpoints, in their order."""
KEPT = (
    *("data", "base", "primary_metric", "score", "best_score"),
    *("metrics", "calibration", "parameters", "estimation", "budget", "plan", "prefix_cache", "history"),
)
"""Fields of the record that an unfinished run has found out."""
OUTPUTS = (artifacts.PLAN, artifacts.SCORES, artifacts.RECOVERY, artifacts.TEACHER)
"""Files of the run's folder that a checkpoint relies on."""

logger = logging.getLogger("light_peft")


class Stateful(Protocol):
    """Something whose work on this process can be put aside."""

    def state(self) -> State:
        """Return where it stands."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Stand where `state` says."""


class RunKeeper:
    """Writes the checkpoints of a run and takes it up where the last one left it.

    Attributes:
        found: The checkpoint that the run goes on from; None at its beginning.
    """

    def __init__(
        self, folder: Path, config: CheckpointConfig, accelerator: Accelerator, record: RunRecord, meter: Meter
    ) -> None:
        """Take up the run in `folder`: record and meter stand as they stood at its newest checkpoint.

        Raises:
            ValueError: If a file that the checkpoint relies on is damaged.
        """
        self.folder, self.config, self.accelerator = folder, config, accelerator
        self.record, self.meter = record, meter
        self._checkpoints = Checkpoints(folder, config.keep, accelerator)
        self._digests: dict[str, str] = {}
        self._is_lending = False
        self._end: Checkpoint | None = None
        self.found = self._checkpoints.latest()
        if self.found is not None:
            self._take_up(self.found)

    def is_behind(self, stage: str) -> bool:
        """Return whether the stage was over when the run was left."""
        return self.found is not None and STAGES.index(self.found.stage) > STAGES.index(stage)

    def resume(self, stage: str, model: nn.Module, phase: Phase | None, parts: Mapping[str, Stateful]) -> None:
        """Let all stand as at the checkpoint, if the run was left in this stage.

        Args:
            stage: What is about to begin.
            model: Gets the trained parameters.
            phase: Its optimizer and schedule go on.
            parts: What else goes on, as given to `keep`.
        """
        if self.found is None or self.found.stage != stage:
            return
        shared, own = self.found.shared, self.found.own
        for name, part in parts.items():
            part.restore(send_to_device(own["parts"][name], self.accelerator.device))
        set_trainables(model, shared["model"])
        if phase is not None and "optimizer" in shared:
            phase.optimizer.load_state_dict(shared["optimizer"])
            phase.scheduler.load_state_dict(shared["scheduler"])
        if self.accelerator.scaler is not None and "scaler" in shared:
            self.accelerator.scaler.load_state_dict(shared["scaler"])
        restore_random_states(own["random"], self.accelerator.device)

    def keep(self, stage: str, step: int, model: nn.Module, phase: Phase | None, parts: Mapping[str, Stateful]) -> None:
        """Write a checkpoint; without `phase` its optimizer has done its work."""
        self.meter.settle()
        record = asdict(self.record)
        shared: State = {
            "record": {name: record[name] for name in KEPT},
            "files": self._outputs(stage),
            "model": trainables(model),
        }
        if phase is not None:
            shared |= {"optimizer": phase.optimizer.state_dict(), "scheduler": phase.scheduler.state_dict()}
        if (scaler := self.accelerator.scaler) is not None:  # the next phase goes on with it
            shared["scaler"] = scaler.state_dict()
        own = {
            "parts": {name: part.state() for name, part in parts.items()},
            "meter": self.meter.state(),
            "random": random_states(self.accelerator.device),
        }
        checkpoint = Checkpoint(stage, step, shared, own)
        self._checkpoints.write(checkpoint)
        self._end = checkpoint if self._is_lending and phase is None else None

    @contextmanager
    def estimation_of(self, estimations: Estimations | None) -> Iterator[bool]:
        """Have the estimation that is made within the block taken from other runs, and let others have it.

        Gives whether it is another run's: this one then goes on from its end. What it has cost is charged either way as
        if it had been made here; the record says whether it was.
        """
        is_over = self.found is not None and "optimizer" not in self.found.shared
        if estimations is None or is_over:
            yield False
            if estimations is not None:
                self._note_estimation(estimations, None, 0.0)
            return
        before = self.meter.phases[STAGES[0]].seconds if STAGES[0] in self.meter.phases else 0.0
        with estimations.needed() as made:
            if made is not None:
                self._borrow(made)
            self._is_lending = made is None
            yield made is not None
            if self._is_lending:
                self._lend(estimations)
        self._note_estimation(estimations, made, before)

    def _borrow(self, made: Checkpoint) -> None:
        """Go on from the end of another run's estimation."""
        self.found = made
        self.meter.restore(self.meter.state() | {STAGES[0]: made.own["meter"]})
        self.record.history = list(made.shared["losses"])
        logger.info("takes over an estimation of %d steps, made by %s", made.step, made.shared["made_by"])

    def _lend(self, estimations: Estimations) -> None:
        """Let other runs have what they need of the end of the estimation, and what all of it has cost."""
        end, cost = self._end, self.meter.phases[STAGES[0]]
        assert end is not None, "estimation ends with a checkpoint"
        losses = [entry for entry in end.shared["record"]["history"] if "loss" in entry]
        shared: State = {name: end.shared[name] for name in ("model", "scaler") if name in end.shared}
        shared |= {"losses": losses, "made_by": str(self.folder)}
        whole = {"seconds": cost.seconds, "peak_memory_bytes": cost.peak_memory_bytes}
        own = end.own | {"meter": end.own["meter"][STAGES[0]] | whole}
        estimations.put(Checkpoint(end.stage, end.step, shared, own))
        self._is_lending, self._end = False, None

    def _note_estimation(self, estimations: Estimations, made: Checkpoint | None, before: float) -> None:
        """Note whose estimation it is; `before` are the seconds that an attempt of this run's own has cost."""
        cost = self.meter.phases[STAGES[0]]
        seconds = cost.seconds if made is None else made.own["meter"]["seconds"]
        self.record.estimation = {
            "reused": made is not None,
            "folder": str(estimations.folder),
            "made_by": str(self.folder) if made is None else made.shared["made_by"],
            "seconds": seconds,
            "spent": cost.seconds if made is None else before + cost.seconds - seconds,
        }
        cost.seconds = seconds

    def check_data(self, digests: Mapping[str, str]) -> None:
        """Hold the data against those that the run began with.

        Raises:
            ValueError: If they are others.
        """
        before = self.record.data.get("digests", digests)
        if changed := [name for name, digest in digests.items() if before.get(name) != digest]:
            raise ValueError(f"{', '.join(changed)}: the data are not those that this run began with; begin it anew")

    def _outputs(self, stage: str) -> dict[str, str]:
        """Return the sha256 of the files that `stage` builds on, which are written once, behind estimation."""
        if stage == STAGES[0]:
            return {}
        if not self._digests:
            there = [name for name in OUTPUTS if (self.folder / name).exists()]
            self._digests = {name: artifacts.file_sha256(self.folder / name) for name in there}
        return self._digests

    def _take_up(self, found: Checkpoint) -> None:
        for name, digest in found.shared["files"].items():
            path = self.folder / name
            if not path.exists() or artifacts.file_sha256(path) != digest:
                raise ValueError(f"{path} is damaged or gone, and the run cannot go on without it; begin it anew")
        for name, value in found.shared["record"].items():
            setattr(self.record, name, value)
        self.record.resumed.append({"stage": found.stage, "step": found.step})
        on_main(self.accelerator, lambda: self.record.write(self.folder))  # a kill shall not forget it
        self.meter.restore(found.own["meter"])
        logger.info("goes on behind step %d of %s", found.step, found.stage)


class PhaseKeeper(Keeper):
    """Keeps one phase: writes a checkpoint when it is time, and when the run was told to end."""

    def __init__(
        self, keeper: RunKeeper, interrupts: Interrupts, model: nn.Module, phase: Phase, parts: Mapping[str, Stateful]
    ) -> None:
        """Keep `phase` on `model`, whose progress on this process is in `parts`."""
        self._keeper, self._interrupts = keeper, interrupts
        self._model, self._phase, self._parts = model, phase, parts
        self._last = time.monotonic()

    def is_due(self, step: int) -> bool:
        """Return whether enough steps or minutes have gone by."""
        config = self._keeper.config
        if config.steps is not None:
            return step % config.steps == 0
        return time.monotonic() - self._last >= 60 * config.minutes

    def must_stop(self) -> bool:
        """Return whether a signal has come."""
        return self._interrupts.requested is not None

    def keep(self, step: int, *, is_over: bool, stop: bool) -> None:
        """Write a checkpoint.

        Raises:
            Interrupted: With `stop`.
        """
        self._keeper.keep(self._phase.name, step, self._model, None if is_over else self._phase, self._parts)
        self._last = time.monotonic()
        if stop:
            raise Interrupted(self._interrupts.requested or signal.SIGTERM)


def trainables(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the parameters that train, by name: PEFT, head and masks."""
    return {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}


@torch.no_grad()
def set_trainables(model: nn.Module, values: Mapping[str, torch.Tensor]) -> None:
    """Give the parameters that train their values.

    Raises:
        ValueError: If the model has others.
    """
    own = trainables(model)
    odd = sorted(name for name in own.keys() | values.keys() if name not in own or name not in values)
    odd += [name for name in own if name in values and own[name].shape != values[name].shape]
    if odd:
        raise ValueError(f"the checkpoint is of another model: {', '.join(odd[:3])} differ; begin the run anew")
    for name, parameter in own.items():
        parameter.copy_(values[name])
