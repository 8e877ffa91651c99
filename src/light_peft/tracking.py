"""Losses, scores and figures for a tracker beside the record: TensorBoard or W&B, by accelerate's trackers.

What is logged is the record's history. A run that goes on logs what it has not logged yet: the steps behind its
checkpoint, which it does again, give the figures that are there already.
"""

import json
import logging
import os
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from accelerate.tracking import GeneralTracker, TensorBoardTracker, WandBTracker

from light_peft import artifacts
from light_peft.artifacts import RunRecord
from light_peft.config import Config
from light_peft.keeping import RunKeeper
from light_peft.settings import settings_of

NONE, TENSORBOARD, WANDB = "none", "tensorboard", "wandb"
PROJECT = "light-peft"
"""Name of the W&B project, unless WANDB_PROJECT says another one."""
NOT_LOGGED = "agreement"
"""What marks the entries of the history that are noted behind their phase, out of the order of steps."""

logger = logging.getLogger("light_peft")


def check_installed(track: str) -> None:
    """Look whether the tracker `track` is there.

    Raises:
        ValueError: If its package is not installed.
    """
    if track != NONE and find_spec(track) is None:
        raise ValueError(f"track={track}: needs the package {track}; pip install {track}, or set track=none")


class Tracking:
    """The tracker of one run, within the block; of several processes the main one has it.

    A tracker that can write no more is warned of once, and the run goes on without it.
    """

    def __init__(self, config: Config, keeper: RunKeeper) -> None:
        """Make ready to log what the record of `keeper` says; nothing is written yet."""
        self._config, self._keeper = config, keeper
        self._place = keeper.folder / artifacts.TRACKING
        self._is_new = keeper.found is None
        self._tracker: GeneralTracker | None = None
        self._id, self._logged = secrets.token_hex(8), 0

    def __enter__(self) -> "Tracking":
        """Begin a tracker's run, or go on with it.

        Raises:
            ValueError: If the tracker does not start.
        """
        if self._config.track == NONE or not self._keeper.accelerator.is_main_process:
            return self
        if self._is_new:
            shutil.rmtree(self._place, ignore_errors=True)
        is_known = self._find()
        try:
            self._tracker = self._started()
            if not is_known:
                self._tracker.store_init_configuration(plain(settings_of(asdict(self._config))))
        except Exception as error:  # a tracker's library and its server raise whatever they like
            raise ValueError(
                f"track={self._config.track}: does not start ({type(error).__name__}: {error}); set track=none"
            ) from error
        self.update()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        """End the tracker's run, behind the figures of a run of ours that has come to its end."""
        if kind is None:
            self.update(summary_of(self._keeper.record))
        if self._tracker is not None:
            try:
                self._tracker.finish()
            except Exception as error:
                self._give_up(error)

    def update(self, summary: Mapping[str, float] | None = None) -> None:
        """Log what the history has got since the last time, and `summary` behind it."""
        if self._tracker is None:
            return
        entries = [entry for entry in self._keeper.record.history if NOT_LOGGED not in entry]
        last = self._step_of(entries[-1]) if entries else 0
        try:
            for entry in entries[self._logged :]:
                self._tracker.log(values_of(entry), step=self._step_of(entry))
            if summary:
                self._tracker.log(dict(summary), step=last)
            self._logged = max(self._logged, len(entries))
            self._note()
        except Exception as error:
            self._give_up(error)

    def _started(self) -> GeneralTracker:
        tracker: GeneralTracker
        if self._config.track == TENSORBOARD:
            tracker = TensorBoardTracker(TENSORBOARD, logging_dir=str(self._place))
        else:
            self._place.mkdir(parents=True, exist_ok=True)
            mode = os.environ.get("WANDB_MODE", "offline")
            words: dict[str, Any] = {"id": self._id, "name": self._config.label or self._keeper.folder.name}
            if mode == "online":
                words["resume"] = "allow"
            project = os.environ.get("WANDB_PROJECT", PROJECT)
            tracker = WandBTracker(project, mode=mode, dir=str(self._place), **words)
        with no_questions():
            tracker.start()
        return tracker

    def _step_of(self, entry: Mapping[str, Any]) -> int:
        """Return the optimizer steps of the whole run at an entry: those of training come behind estimation's."""
        estimation = self._keeper.meter.phases.get("estimate")
        before = (estimation.steps or 0) if estimation is not None and entry["phase"] != "estimate" else 0
        return before + int(entry["step"])

    def _find(self) -> bool:
        """Take up the tracker's run that an attempt before this one has begun; whether there is one."""
        if not self._position.exists():
            return False
        try:
            values = artifacts.read_json(self._position)
            self._id, self._logged = str(values["id"]), int(values["logged"])
        except (ValueError, KeyError, TypeError) as error:
            logger.warning("%s is damaged (%s): what has been logged is logged again", self._position, error)
            return False
        return True

    def _note(self) -> None:
        """Write down how far it has come; not synced to the disk, since after a power cut an entry twice is no loss."""
        self._position.write_text(json.dumps({"id": self._id, "logged": self._logged}), encoding="utf-8")

    @property
    def _position(self) -> Path:
        return self._place / f"{self._config.track}.json"

    def _give_up(self, error: Exception) -> None:
        self._tracker = None
        logger.warning("track=%s: nothing more is logged (%s: %s)", self._config.track, type(error).__name__, error)


@contextmanager
def no_questions() -> Iterator[None]:
    """Keep what a library asks at the terminal, such as for a login, from waiting for an answer: it fails instead."""
    stdin = sys.stdin
    with open(os.devnull, encoding="utf-8") as nothing:
        sys.stdin = nothing
        try:
            yield
        finally:
            sys.stdin = stdin


def values_of(entry: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of an entry of the history, each as `phase/name`."""
    return {f"{entry['phase']}/{name}": value for name, value in entry.items() if name not in ("phase", "step")}


def summary_of(record: RunRecord) -> dict[str, float]:
    """Return what a finished run has found and cost, by names of one level: parameters, plan, phases, totals."""
    plan = record.plan
    counts: dict[str, Any] = {
        name: sum(plan[name]) for name in ("heads", "heads_before", "ffn", "ffn_before") if name in plan
    }
    ranks = plan.get("ranks", {})
    counts |= {"modules": len(ranks), "ranks": sum(ranks.values())}
    counts |= {name: plan[name] for name in ("modules_before", "ranks_before") if name in plan}
    groups: dict[str, dict[str, Any]] = {"parameters": record.parameters, "plan": counts, "totals": record.totals}
    groups |= {f"phases/{phase}": figures for phase, figures in record.phases.items()}
    named = {f"{group}/{name}": value for group, values in groups.items() for name, value in values.items()}
    scores: dict[str, Any] = {"score": record.score, "best_score": record.best_score}
    return {name: value for name, value in (scores | named).items() if isinstance(value, int | float)}


def plain(settings: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """Return settings as the trackers take them: what is no number and no text as JSON."""
    return {
        key: value if isinstance(value, bool | int | float | str) else json.dumps(value)
        for key, value in settings.items()
    }
