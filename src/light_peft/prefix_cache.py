"""What the frozen prefix makes of the training examples: computed once, not in every epoch.

Shape suffixes: B batch, T tokens, D model width.
"""

import logging
from collections.abc import Callable, Iterable, Iterator

import datasets
import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch import nn
from transformers import PreTrainedModel

from light_peft import artifacts
from light_peft.config import Config
from light_peft.data.batches import LENGTH, ROW, Batch, eval_loader, padding_words
from light_peft.data.row_file import RowFile
from light_peft.evaluation.examiner import Examiner
from light_peft.keeping import RunKeeper
from light_peft.meter import PhaseCost, count_step, counted_apart, part
from light_peft.model import Backbone
from light_peft.model.sharding import is_sharded
from light_peft.processes import any_of, on_main
from light_peft.training.loop import Loss, Phase, shape_of
from light_peft.training.prefix import Prefix, frozen_depth

STATES = "prefix_states"
"""Column of a training batch: what comes out of the prefix [B, T, D]."""
PART = "prefix_cache"
"""Name of the pass among the parts of the training phase."""
PROBED = 2
"""Features on which it is tried whether chance plays a part in the prefix."""

Run = Callable[[Batch], torch.Tensor]
"""Returns what comes out of the prefix for a batch [B, T, D]."""

logger = logging.getLogger("light_peft")


class PrefixCache:
    """A file in the run's folder, for as long as it trains, which the training phase reads instead of computing."""

    def __init__(self, config: Config, keeper: RunKeeper, examiner: Examiner, backbone: Backbone) -> None:
        """Write nothing yet."""
        self._config, self._keeper, self._examiner = config, keeper, examiner
        self._blocks, self._head_modules = backbone.blocks, backbone.head_modules
        self._path = keeper.folder / artifacts.PREFIX

    def serve(
        self, phase: Phase, model: nn.Module, bare: PreTrainedModel, train_set: datasets.Dataset, epoch: int
    ) -> datasets.Dataset:
        """Return the training set for `phase`, whose steps run what lies above the prefix alone, where that is right.

        Where it is not, or would not pay, all stays as it is, and log and record say why. All processes call it.

        Args:
            phase: The training phase, about to begin.
            model: What its loss runs, not yet wrapped.
            bare: The foundation model inside.
            train_set: What is trained on.
            epoch: Steps of one pass over it.
        """
        wanted = self._config.train.prefix_cache
        if wanted == "off":
            return train_set
        depth = frozen_depth(model, [bare.get_submodule(path) for path in self._blocks], self._head_modules)
        reason = next(self._refusals(depth, model, bare, is_one_pass=phase.steps <= epoch), "")
        if not reason:
            reason = self._prepare(Prefix(bare, self._blocks, depth), phase, model, train_set)
        if reason:
            logger.warning("train.prefix_cache=%s has no effect: %s", wanted, reason)
            self._keeper.record.prefix_cache = {"off": reason}
            return train_set
        return train_set.add_column(ROW, range(len(train_set)))

    def remove(self) -> None:
        """Remove the file, since nobody trains any more."""
        on_main(self._keeper.accelerator, lambda: self._path.unlink(missing_ok=True))

    def _refusals(self, depth: int, model: nn.Module, bare: PreTrainedModel, *, is_one_pass: bool) -> Iterator[str]:
        """Yield why it cannot be, or would not pay, as far as that shows without a forward pass."""
        if bound := self._examiner.formulation.bound_to_batch:
            yield bound
        if depth == 0:
            yield "something trains in or below the lowest layer; prune.module_depth=1 takes modules from there first"
        if is_one_pass:
            yield "training passes over the data only once"
        if is_sharded(model):
            yield "runtime.sharding=fsdp runs only whole models"
        if getattr(bare.config, "layerdrop", 0.0):
            yield "this model leaves out whole layers at random (layerdrop)"

    def _prepare(self, prefix: Prefix, phase: Phase, model: nn.Module, train_set: datasets.Dataset) -> str:
        """Have the file, and let `phase` read it; return what stands against it, or nothing."""
        keeper, most = self._keeper, self._config.train.prefix_cache_gb
        run = _runner(prefix, phase.loss, model, keeper.accelerator)
        states_BTD, is_random = self._probe(run, model, train_set)
        if is_random and self._config.train.prefix_cache == "exact":
            return "there is dropout in the lowest layers, which train.prefix_cache=eval would turn off"
        dtype = states_BTD.dtype if keeper.accelerator.mixed_precision == "no" else torch.bfloat16
        file = RowFile(self._path, train_set[LENGTH][:], states_BTD.shape[-1], dtype)
        if file.num_bytes > most * 1e9:
            return f"it would take {file.num_bytes / 1e9:.3g} GB, and train.prefix_cache_gb={most:g}"
        # Only a run that was left within this phase is sure to have the model that it wrote the file with.
        is_left = keeper.found is not None and keeper.found.stage == phase.name
        if not (is_left and on_main(keeper.accelerator, file.is_whole)):
            cost = keeper.meter.phases[phase.name]
            with part(cost, PART), counted_apart(cost) as own:
                if not self._fill(file, run, train_set, own):
                    return "the file cannot be written"
            seconds = (cost.part_seconds or {})[PART]
            sizes = {"layers": prefix.depth, "features": len(train_set), "bytes": file.num_bytes}
            keeper.record.prefix_cache = sizes | {"seconds": seconds}
            logger.info("%d layers below all that trains are computed: %.3g GB", prefix.depth, file.num_bytes / 1e9)
        phase.complete = lambda batch: _completed(batch, file)
        phase.loss = _fed(prefix, phase.loss, states_BTD.dtype)
        return ""

    def _probe(self, run: Run, model: nn.Module, features: datasets.Dataset) -> tuple[torch.Tensor, bool]:
        """Return the states of a few features, and whether they are others in training; `model` is left in eval mode.

        Dropout may be a module or an argument that attention takes from the configuration: what counts is what it does.
        """
        (batch,) = self._batches(features.select(range(min(PROBED, len(features)))), (0, 1))
        del batch[ROW]
        model.train()
        in_training_BTD = run(batch)
        model.eval()
        states_BTD = run(batch)
        return states_BTD, not torch.equal(in_training_BTD, states_BTD)

    def _fill(self, file: RowFile, run: Run, features: datasets.Dataset, cost: PhaseCost) -> bool:
        """Write the states of all features, each process its share; whether the system let all of them do it."""
        accelerator = self._keeper.accelerator
        share = (accelerator.process_index, accelerator.num_processes)

        def write() -> None:
            for batch in self._batches(features, share):
                rows = batch.pop(ROW).tolist()
                with count_step(cost, [shape_of(batch)]):
                    states_BTD = run(batch)
                file.write(rows, states_BTD)
            file.sync()

        def of_main(action: Callable[[], None]) -> Callable[[], None]:
            return action if accelerator.is_main_process else lambda: None

        steps = (of_main(file.begin), write, of_main(file.end))
        is_written = all(self._is_done_by_all(step) for step in steps)
        if not is_written:
            of_main(file.remove)()
        return is_written

    def _is_done_by_all(self, step: Callable[[], None]) -> bool:
        """Do a step of writing; whether the system let all processes do it."""
        has_failed = False
        try:
            step()
        except OSError as error:
            has_failed = True
            logger.debug("prefix cache: %s", error)
        return not any_of(self._keeper.accelerator, has_failed)[0]

    def _batches(self, features: datasets.Dataset, share: tuple[int, int]) -> Iterable[Batch]:
        """Return the training features of one process in batches without a gradient, the longest first."""
        config, examiner = self._config, self._examiner
        words = padding_words("dynamic", config.max_length)  # padding is not kept
        collate = examiner.formulation.collate(examiner.tokenizer, training=True, **words)
        size = config.train.eval_batch_size
        return eval_loader(features, collate, batch_size=size, padding="dynamic", share=share)


def _runner(prefix: Prefix, loss: Loss, model: nn.Module, accelerator: Accelerator) -> Run:
    """Return what gives the states of a batch [B, T, D], computed as the loss of a training step would."""

    @torch.no_grad()
    def run(batch: Batch) -> torch.Tensor:
        inputs = send_to_device(batch, accelerator.device)
        with accelerator.autocast():
            return prefix.states(lambda: loss(model, inputs))

    return run


def _completed(batch: Batch, file: RowFile) -> Batch:
    """Return the batch with `STATES` in place of `ROW`."""
    columns = dict(batch)
    rows, length = columns.pop(ROW).tolist(), batch["input_ids"].shape[1]
    return columns | {STATES: file.read(rows, length)}


def _fed(prefix: Prefix, loss: Loss, dtype: torch.dtype) -> Loss:
    """Return `loss` for batches with `STATES`, which the model takes, in `dtype`, for what the prefix gives."""

    def of_batch(model: nn.Module, batch: Batch) -> torch.Tensor:
        columns = dict(batch)
        with prefix.known(columns.pop(STATES).to(dtype)):
            return loss(model, columns)

    return of_batch
