"""A phase of optimizer steps, made from the configuration and run to its end; it can be left and taken up again."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence

import datasets
from accelerate.utils import send_to_device, set_seed
from rich.console import Console
from torch import nn

from light_peft.config import Config, EstimateConfig, TrainConfig
from light_peft.data.batches import Batch, Collate, TrainLoader, median_batch, padding_words
from light_peft.evaluation.examiner import Examiner
from light_peft.interrupts import Interrupts
from light_peft.keeping import PhaseKeeper, RunKeeper, Stateful
from light_peft.model.checkpointing import recomputing
from light_peft.model.sharding import is_sharded
from light_peft.peft_modules import peft_kind
from light_peft.report.progress import phase_progress
from light_peft.training.loop import Observer, Phase, PhaseRun
from light_peft.training.optim import ParameterGroup, build_optimizer, build_scheduler, count_steps

logger = logging.getLogger("light_peft")


class Phases:
    """Makes and runs the phases of one run.

    Attributes:
        keeper: Writes their checkpoints, and knows what the run goes on from.
    """

    def __init__(
        self,
        config: Config,
        keeper: RunKeeper,
        interrupts: Interrupts,
        console: Console,
        has_grown: Callable[[], None] = lambda: None,
    ) -> None:
        """Make ready; `has_grown` is called when a phase has added to the record's history."""
        self.config, self.keeper = config, keeper
        self._interrupts, self._console, self._has_grown = interrupts, console, has_grown

    def make(self, name: str, groups: list[ParameterGroup], steps: int, examiner: Examiner) -> Phase:
        """Return the phase `name` of `steps` optimizer steps over these parameters."""
        config = self._settings(name)
        optimizer = build_optimizer(groups)
        schedule = build_scheduler(optimizer, kind=config.scheduler, warmup=config.warmup, steps=steps)
        train, formulation = self.config.train, examiner.formulation
        return Phase(
            name,
            steps,
            optimizer,
            schedule,
            train.gradient_accumulation * config.micro_batches,
            train.max_grad_norm,
            formulation.loss,
            formulation.weight,
        )

    def run(
        self,
        phase: Phase,
        model: nn.Module,
        train_set: datasets.Dataset,
        examiner: Examiner,
        observers: Sequence[Observer],
        parts: Mapping[str, Stateful],
    ) -> nn.Module:
        """Train `model` from where the run was left, or from the beginning; return it bare.

        Args:
            phase: What is done.
            model: The model with PEFT.
            train_set: What it learns from.
            examiner: Knows how batches are made.
            observers: See every step.
            parts: What has a state beside model, optimizer, schedule, loop and loader.
        """
        accelerator, record = self.keeper.accelerator, self.keeper.record
        set_seed(self.config.seed, device_specific=True)
        loader = self._loader(phase.name, train_set, examiner)
        phase.optimizer = accelerator.prepare(phase.optimizer)
        # A sharded model is where it belongs, and averages its gradients in the loop.
        whole = not is_sharded(model)
        wrapped = accelerator.prepare_model(model, device_placement=whole, evaluation_mode=not whole)
        run = PhaseRun(phase, wrapped, loader, accelerator, cost=self.keeper.meter.phases[phase.name])
        parts = {"run": run, "loader": loader, **parts}
        self.keeper.resume(phase.name, model, phase, parts)
        keeper = PhaseKeeper(self.keeper, self._interrupts, model, phase, parts)
        with phase_progress(self._console, phase.name, phase.steps) as show:

            def on_progress(step: int, loss: float) -> None:
                show(step, loss)
                record.history.append({"phase": phase.name, "step": step, "loss": loss})
                self._has_grown()
                logger.debug("%s: step %d of %d, loss %.4f", phase.name, step, phase.steps, loss)

            again = self._settings(phase.name).gradient_checkpointing
            bare = peft_kind(self.config.peft.kind).bare(model)
            with self._interrupts.deferred(), recomputing(bare, again):
                run.run(observers, on_progress, keeper)
        trained = accelerator.unwrap_model(wrapped, keep_fp32_wrapper=False)
        accelerator.free_memory()
        return trained

    def steps_per_epoch(self, examples: int) -> int:
        """Return the optimizer steps of one pass over so many training examples."""
        train = self.config.train
        batches = math.ceil(examples / (train.batch_size * self.keeper.accelerator.num_processes))
        return math.ceil(batches / train.gradient_accumulation)

    def training_steps(self, examples: int) -> int:
        """Return the optimizer steps of the training phase."""
        train = self.config.train
        return train.max_steps or max(1, math.ceil(train.epochs * self.steps_per_epoch(examples)))

    def estimation_steps(self, examples: int) -> int:
        """Return the optimizer steps of the estimation phase."""
        return max(1, count_steps(self.config.estimate.steps, self.training_steps(examples)))

    def _settings(self, name: str) -> EstimateConfig | TrainConfig:
        return self.config.estimate if name == "estimate" else self.config.train

    def typical_batch(self, train_set: datasets.Dataset, examiner: Examiner) -> Batch:
        """Return a batch of the training phase, of examples of median length, on the device."""
        train, device = self.config.train, self.keeper.accelerator.device
        size = math.ceil(train.batch_size / train.micro_batches)
        return send_to_device(median_batch(train_set, self._collate(examiner), size), device)

    def _collate(self, examiner: Examiner) -> Collate:
        words = padding_words(self.config.data.padding, self.config.max_length)
        return examiner.formulation.collate(examiner.tokenizer, training=True, **words)

    def _loader(self, name: str, train_set: datasets.Dataset, examiner: Examiner) -> TrainLoader:
        accelerator, padding = self.keeper.accelerator, self.config.data.padding
        return TrainLoader(
            train_set,
            self._collate(examiner),
            batch_size=self.config.train.batch_size,
            padding=padding,
            seed=self.config.seed + (name == "estimate"),
            share=(accelerator.process_index, accelerator.num_processes),
            parts=self._settings(name).micro_batches,
        )
