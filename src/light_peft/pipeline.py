"""The method as one page of verbs, in the paper's order."""

import logging
from functools import partial
from pathlib import Path

import datasets
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from rich.console import Console
from transformers import PreTrainedModel

from light_peft import artifacts
from light_peft.artifacts import RunRecord
from light_peft.checkout import git_state
from light_peft.config import Config
from light_peft.estimates import shared_estimation
from light_peft.evaluation.examiner import Examiner
from light_peft.hub import pinned
from light_peft.interrupts import Interrupts
from light_peft.keeping import RunKeeper, Stateful
from light_peft.loading import read_plan, read_scores, save_run, write_decision
from light_peft.meter import Meter, part
from light_peft.model import check_length, count_block_parameters, count_parameters, describe
from light_peft.model.load import load_foundation
from light_peft.model.sharding import is_sharded, place, unshard
from light_peft.model.sizes import check_vocabulary
from light_peft.peft_modules import check_model, peft_kind
from light_peft.phases import Phases
from light_peft.prefix_cache import PrefixCache
from light_peft.processes import on_main, sum_over
from light_peft.pruning import recovery
from light_peft.pruning.budget import Target
from light_peft.pruning.criteria import Subject, criterion_of
from light_peft.pruning.decision import Budget, check_prunable, plan_of
from light_peft.pruning.estimate import ImportanceRecorder, mask_groups, mask_penalty
from light_peft.pruning.masks import masked
from light_peft.pruning.moments import ConsumerMoments, Moments
from light_peft.pruning.plan import PruneRule, PruningPlan, check_feasible, keep_all
from light_peft.pruning.probe import Probe
from light_peft.pruning.scores import Scores
from light_peft.pruning.settle import Settlement
from light_peft.pruning.surgery import cut_backbone, plan_cuts
from light_peft.runtime import hardware, return_free_memory, versions
from light_peft.tasks.registry import formulation_of
from light_peft.tasks.splits import load_splits
from light_peft.training.distill import TEACHER, DistilledLoss
from light_peft.training.loop import Every, Observer
from light_peft.training.optim import trainable_groups

PHASES = ("load", "estimate", "surgery", "train", "evaluate")

logger = logging.getLogger("light_peft")


class Run:
    """One run: what was asked for, where it writes, and the model on its way through the phases."""

    def __init__(
        self,
        config: Config,
        folder: Path,
        record: RunRecord,
        console: Console,
        accelerator: Accelerator,
        interrupts: Interrupts,
    ) -> None:
        self.config, self.folder, self.record, self.accelerator = config, folder, record, accelerator
        self.meter = Meter(accelerator.device)
        self.kind = peft_kind(config.peft.kind)
        self.rule = PruneRule.of(config.prune)
        self.moments: dict[str, Moments] = {}
        self.train_set: datasets.Dataset
        self.keeper = RunKeeper(folder, config.checkpoint, accelerator, record, self.meter)
        self.phases = Phases(config, self.keeper, interrupts, console)
        record.versions, record.git, record.hardware = versions(), git_state(), hardware(accelerator)

    def execute(self) -> None:
        """Go through all phases and fill the record; a stage whose output is there is not done again."""
        try:
            self.load()
            scores = self.estimate() if self.config.prune.method != "none" else None
            plan = self.decide(scores)
            if self.config.train.distill and scores is not None:
                self.teach()
            self.cut(plan, scores)
            self.train()
            if not self.keeper.is_behind("train"):
                self.evaluate()
                self.answer()
            self.save()
        finally:
            self.record.phases, self.record.totals = self.meter.to_json(PHASES), self.meter.totals()

    def load(self) -> None:
        """Load data and model, and attach PEFT."""
        config = pinned(self.config, self.record)  # of a run that goes on the commits that it began with
        with self.meter.phase("load") as cost:
            with self.accelerator.main_process_first():  # it writes what the others then read
                place, test = self.folder / "data", config.save.predictions
                splits = load_splits(config.task, config.data, seed=config.seed, work_dir=place, test=test)
                self.keeper.check_data(splits.digests)
                foundation = load_foundation(config.model, config.task)
                self.tokenizer = foundation.tokenizer
                check_vocabulary(config.model.name, foundation.model, self.tokenizer)
                self.backbone = describe(foundation.model)
                check_length(config.max_length, self.backbone, foundation.model)
                formulation = formulation_of(config.task, foundation.head)
                self.examiner = Examiner(config, formulation, self.tokenizer, self.accelerator)
                with part(cost, "tokenisation"):
                    assert splits.train is not None
                    self.train_set = self.examiner.features(splits.train, training=True)
                    self.examiner.take(splits)
            check_model(config, foundation.model, self.backbone)
            blocks = count_block_parameters(self.backbone, foundation.model)
            self.model = self.kind.attach(foundation.model, self.backbone, config.peft)
            heads = [site.count for site in self.backbone.sites_of("attn")]
            neurons = [site.count for site in self.backbone.sites_of("ffn")]
            ranks = {path: view.rank for path, view in self.kind.views(self.model).items()}
            self.everything = keep_all(heads, neurons, ranks)
            check_feasible(self.rule, self.everything)
            check_prunable(config.prune, self.kind.views(self.model), self.backbone)
            self._place()
            self.budget = self._budget()
        self.record.data = splits.summary()
        self.record.base = {"source": foundation.source, "head": foundation.head}
        self._count_parameters("before", blocks)
        logger.info(f"{config.task.name} {self.record.data['rows']} on {config.model.name} from {foundation.source}")

    def estimate(self) -> Scores:
        """Train PEFT, head and masks together; return the importance of everything that may be cut."""
        if self.keeper.is_behind("estimate"):
            return read_scores(self.folder)
        config, steps = self.config.estimate, self.phases.estimation_steps(len(self.train_set))
        rate = config.learning_rate or self.config.train.learning_rate
        groups = trainable_groups(self.model, rate, self.config.train.weight_decay)
        bare, criterion = self.kind.bare(self.model), criterion_of(self.config.prune.criterion)
        others = shared_estimation(self.config, self.record, steps, self.accelerator)
        with (
            self.keeper.estimation_of(others),
            self.meter.phase("estimate"),
            masked(bare, self.backbone.sites, criterion.mask_use) as masks,
        ):
            phase = self.phases.make("estimate", groups + mask_groups(masks, rate, config), steps, self.examiner)
            phase.penalty = mask_penalty(masks, config)
            views, sums = self.kind.views(self.model), partial(sum_over, self.accelerator)
            subject = Subject(bare, self.backbone, views, masks, self.config.prune, self.config.seed, sums)
            recorder = ImportanceRecorder(subject, criterion(subject), config, steps, lambda: not phase.stands_in)
            settlement = Settlement(recorder, lambda found: plan_of(found, self.rule, self.backbone), config)
            phase.is_done = lambda: settlement.is_settled
            moments = ConsumerMoments(subject, second=self.config.prune.refit, counts=lambda: recorder.is_active)
            parts: dict[str, Stateful] = {"recorder": recorder, "settlement": settlement, "moments": moments}
            with recorder.watching(self.model), moments.watching(self.model, recovery.needs_moments(self.config.prune)):
                watching: list[Observer] = [recorder, settlement]
                self.model = self.phases.run(phase, self.model, self.train_set, self.examiner, watching, parts)
            self.moments = moments.total()
            if not self.record.estimation.get("reused"):  # its checks were of what another run would cut
                self.record.history += settlement.history
            return recorder.scores()

    def decide(self, scores: Scores | None) -> PruningPlan:
        """Return what stays: everything without scores, else what the shares leave; both are files from here on.

        The main process decides, and all hold what they would have decided against it.
        """
        if self.keeper.is_behind("estimate"):
            return read_plan(self.folder)
        rule = self.rule
        if scores is not None and self.budget is not None:
            rule = self.budget.rule(scores, rule, self.model, self.kind.bare(self.model), self.backbone)
        own = self.everything if scores is None else plan_of(scores, rule, self.backbone)
        plan = on_main(self.accelerator, lambda: write_decision(self.folder, own, scores))
        same = gather_object([plan == own])
        assert all(same), f"the processes decided differently: {same}"
        return plan

    def teach(self) -> None:
        """Note what the model before the cut says of every training example, for the model after it to learn from."""
        path = self.folder / artifacts.TEACHER
        if self.keeper.is_behind("estimate"):
            outputs = artifacts.read_tensors(path)[TEACHER].numpy()
        else:
            with self.meter.phase("surgery") as cost:
                outputs = self.examiner.outputs(self.model, self.train_set, cost)
            tensors = {TEACHER: torch.from_numpy(outputs)}
            on_main(self.accelerator, lambda: artifacts.write_tensors(path, tensors))
        self.train_set = self.train_set.add_column(TEACHER, outputs.tolist())

    def cut(self, plan: PruningPlan, scores: Scores | None) -> None:
        """Cut model and PEFT along the plan; the surviving PEFT weights and the head carry over."""
        prune, backbone = self.config.prune, self.backbone
        masks = scores.masks if scores is not None and prune.fold_masks else {}
        return_free_memory()
        with self.meter.phase("surgery"):
            self._gather()
            views = self.kind.views(self.model)
            increments = recovery.increments_of(views, plan, recovery.touched_paths(prune, backbone, views))
            model, adapter = self.kind.take_off(self.model)
            cuts = plan_cuts(backbone, plan, masks)
            adapter = self.kind.cut(adapter, model, plan.ranks, cuts)
            replaced = self._replaced(recovery.Recovery(prune, cuts, increments, self.moments, masks), model)
            self.moments = {}
            cut_backbone(model, backbone, plan, cuts, replaced)
            blocks = count_block_parameters(backbone, model)
            self.model = self.kind.put_on(model, adapter)
            self._place()
        self._count_parameters("after", blocks)
        if self.budget is not None:
            self.budget.note_reached(self.model)
        layers = [self.backbone.layer_of(path) for path in plan.ranks]
        self.record.plan = plan.summary(self.everything) | {"lowest_trained_layer": min(layers, default=None)}
        parameters = self.record.parameters
        logger.info(
            f"kept {parameters['blocks_after'] / parameters['blocks_before']:.1%} of the blocks, "
            f"{len(plan.ranks)} of {len(self.everything.ranks)} PEFT modules"
        )

    def train(self) -> None:
        """Train the smaller model with a fresh optimizer and schedule; score it after every epoch but the last."""
        config, rows = self.config.train, len(self.train_set)
        groups = trainable_groups(self.model, config.learning_rate, config.weight_decay)
        steps = self.phases.training_steps(rows)
        of_kind = self.kind.observers(self.model, steps)
        self.parts = {f"kind.{index}": observer for index, observer in enumerate(of_kind)}
        if self.keeper.is_behind("train"):
            self.keeper.resume("evaluate", self.model, None, self.parts)
            return
        with self.meter.phase("train"):
            phase = self.phases.make("train", groups, steps, self.examiner)
            if TEACHER in self.train_set.column_names:
                phase.loss = DistilledLoss(config.distill, config.distill_temperature)
            cache = PrefixCache(self.config, self.keeper, self.examiner, self.backbone)
            epoch = self.phases.steps_per_epoch(rows)
            train_set = cache.serve(phase, self.model, self.kind.bare(self.model), self.train_set, epoch)
            observers: list[Observer] = [*of_kind, Every(epoch, steps, self.evaluate)]
            self.model = self.phases.run(phase, self.model, train_set, self.examiner, observers, self.parts)
            cache.remove()

    def evaluate(self, after_step: int | None = None) -> None:
        """Score the model as it stands and note it as the result so far."""
        record = self.record
        with self.meter.phase("evaluate") as cost:
            metrics = self.examiner.examine(self.model, cost)
        record.metrics, record.calibration = metrics, self.examiner.settings
        record.primary_metric = self.examiner.primary_name()
        record.score = metrics[record.primary_metric]
        record.best_score = max(record.score, -1.0 if record.best_score is None else record.best_score)
        step = after_step or self.phases.training_steps(len(self.train_set))
        record.history.append({"phase": "evaluate", "step": step, **metrics})
        logger.info(", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))

    def answer(self) -> None:
        """Answer the test splits too and write all predictions, if asked for; what is left then is to save."""
        if self.config.save.predictions:
            with self.meter.phase("evaluate") as cost:
                self.examiner.answer_tests(self.model, cost)
            folder = self.folder / artifacts.PREDICTIONS
            on_main(self.accelerator, lambda: self.examiner.write_predictions(folder))
        self.keeper.keep("evaluate", self.phases.training_steps(len(self.train_set)), self.model, None, self.parts)

    def save(self) -> None:
        """Write adapter, tokenizer and, if asked for, the cut foundation model."""
        self._gather(keep=self.accelerator.is_main_process)
        save = partial(save_run, self.folder, self.config, self.model, self.tokenizer)
        self.record.base |= on_main(self.accelerator, save)
        self.meter.add_up(gather_object([self.meter.state()]))

    def _place(self) -> None:
        """Put the model where this process computes, a part of it or the whole."""
        bare = self.kind.bare(self.model)
        blocks = [bare.get_submodule(path) for path in self.backbone.blocks]
        self.model = place(self.model, blocks, self.accelerator, self.config.runtime.sharding)

    def _gather(self, *, keep: bool = True) -> None:
        """Have the model whole, on the CPU if it was sharded, and what estimation has found beside it."""
        if is_sharded(self.model):
            self.model = unshard(self.model, keep=keep)
            self.moments = {path: found.to(torch.device("cpu")) for path, found in self.moments.items()}

    def _replaced(self, way: recovery.Recovery, model: PreTrainedModel) -> dict[str, torch.Tensor]:
        """Return the weights that make up for what is cut, a file from here on if there are any."""
        path = self.folder / artifacts.RECOVERY
        if self.keeper.is_behind("estimate"):
            return artifacts.read_tensors(path) if path.exists() else {}
        replaced = way.tensors(model, self.backbone)
        if replaced:
            on_main(self.accelerator, lambda: artifacts.write_tensors(path, replaced))
        return replaced

    def _budget(self) -> Budget | None:
        """Return what finds the shares, if a target is set."""
        if (target := Target.of(self.config.prune)) is None:
            return None
        batch = self.phases.typical_batch(self.train_set, self.examiner)
        probe = Probe(self.kind, self.backbone, self.accelerator, batch, self.examiner.formulation.loss)
        return Budget(target, probe, self.accelerator, self.record, self.meter)

    def _count_parameters(self, when: str, blocks: int) -> None:
        total, trainable = count_parameters(self.model, self.backbone.head_modules)
        self.record.parameters |= {f"total_{when}": total, f"blocks_{when}": blocks, f"trainable_{when}": trainable}
