"""The method as one page of verbs, in the paper's order."""

import logging
import math
from dataclasses import asdict
from pathlib import Path

import datasets
from accelerate.utils import set_seed
from rich.console import Console

from light_peft import artifacts
from light_peft.artifacts import RunRecord
from light_peft.config import Config
from light_peft.data.batches import padding_words, train_loader
from light_peft.evaluation.examiner import Examiner, check_asked
from light_peft.loading import save_run
from light_peft.meter import Meter, PhaseCost, part
from light_peft.model import check_length, count_block_parameters, count_parameters, describe
from light_peft.model.load import check_vocabulary, load_foundation
from light_peft.peft_modules import all_kinds, check_model, peft_kind
from light_peft.pruning import recovery
from light_peft.pruning.criteria import Subject, criterion_names, criterion_of
from light_peft.pruning.estimate import ImportanceRecorder, mask_groups, mask_penalty
from light_peft.pruning.masks import masked
from light_peft.pruning.moments import ConsumerMoments, Moments
from light_peft.pruning.plan import PruneRule, PruningPlan, check_feasible, keep_all, make_plan
from light_peft.pruning.scores import Scores
from light_peft.pruning.settle import Settlement
from light_peft.pruning.surgery import cut_backbone, modules_on_empty_sites, plan_cuts
from light_peft.report.progress import phase_progress
from light_peft.runtime import git_state, hardware, return_free_memory, start_logging, start_runtime, versions
from light_peft.tasks.registry import formulation_of
from light_peft.tasks.splits import load_splits
from light_peft.training.distill import TEACHER, DistilledLoss
from light_peft.training.loop import Every, Observer, Phase, run_phase
from light_peft.training.optim import ParameterGroup, build_optimizer, build_scheduler, count_steps, trainable_groups
from light_peft.validation import check

PHASES = ("load", "estimate", "surgery", "train", "evaluate")

logger = logging.getLogger("light_peft")


def run(config: Config, console: Console | None = None) -> tuple[RunRecord, Path]:
    """Run the whole method once; return its record and the folder that holds it.

    Raises:
        ValueError: If something is wrong with what was asked for. Where the run had begun, its record
            says `failed` and why.
    """
    console = console or Console(stderr=True)
    notes = check(config, all_kinds(), criterion_names())
    check_asked(config)
    folder = artifacts.new_run_dir(config.run_dir, f"{config.task.name}-{config.model.name}-{config.peft.kind}")
    record = RunRecord(
        task=config.task.name, model=config.model.name, peft=config.peft.kind, seed=config.seed, config=asdict(config)
    )
    log = start_logging(folder / artifacts.LOG, console)
    try:
        for note in notes:
            logger.warning(note)
        Run(config, folder, record, console).execute()
        record.status = "finished"
    except BaseException as error:
        record.error = f"{type(error).__name__}: {error}"
        logger.debug("the run failed", exc_info=error)
        raise
    finally:
        record.write(folder)
        logger.removeHandler(log)
        log.close()
    return record, folder


class Run:
    """One run: what was asked for, where it writes, and the model on its way through the phases."""

    def __init__(self, config: Config, folder: Path, record: RunRecord, console: Console) -> None:
        self.config, self.folder, self.record, self.console = config, folder, record, console
        self.accelerator = start_runtime(config.runtime, config.seed)
        self.meter = Meter(self.accelerator.device)
        self.kind = peft_kind(config.peft.kind)
        self.rule = PruneRule.of(config.prune)
        self.moments: dict[str, Moments] = {}
        self.train_set: datasets.Dataset
        record.versions, record.git = versions(), git_state()
        record.hardware = hardware() | {"precision": self.accelerator.mixed_precision.replace("no", "fp32")}

    def execute(self) -> None:
        """Go through all phases and fill the record; what is saved lies in the run's folder."""
        try:
            self.load()
            scores = self.estimate() if self.config.prune.method != "none" else None
            plan = self.decide(scores)
            if self.config.train.distill and scores is not None:
                self.teach()
            self.cut(plan, scores)
            self.train()
            self.evaluate()
            if self.config.save.predictions:
                self.answer_tests()
            self.save()
        finally:
            costs = {name: self.meter.phases.get(name, PhaseCost()) for name in PHASES}
            self.record.phases = {name: cost.to_json() for name, cost in costs.items()}
            self.record.totals = self.meter.totals()

    def load(self) -> None:
        """Load data and model, and attach PEFT."""
        config = self.config
        with self.meter.phase("load") as cost:
            place, test = self.folder / "data", config.save.predictions
            splits = load_splits(config.task, config.data, seed=config.seed, work_dir=place, test=test)
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
            self._check_views()
        rows = {"train": len(splits.train or ())} | {name: len(split) for name, split in splits.validation.items()}
        self.record.data = {"rows": rows, "sources": splits.sources, "digests": splits.digests}
        self.record.data["duplicates"] = splits.duplicates
        if splits.held_out is not None:
            self.record.data["held_out"] = len(splits.held_out)
        self.record.base = {"source": foundation.source, "head": foundation.head}
        self._count_parameters("before", blocks)
        logger.info(f"{config.task.name} {rows} on {config.model.name} from {foundation.source}")

    def estimate(self) -> Scores:
        """Train PEFT, head and masks together; return the importance of everything that may be cut."""
        config, steps = self.config.estimate, self._estimation_steps()
        rate = config.learning_rate or self.config.train.learning_rate
        groups = trainable_groups(self.model, rate, self.config.train.weight_decay)
        bare, criterion = self.kind.bare(self.model), criterion_of(self.config.prune.criterion)
        with self.meter.phase("estimate"), masked(bare, self.backbone.sites, criterion.mask_use) as masks:
            groups += mask_groups(masks, rate, config)
            phase = self._phase("estimate", groups, steps, config.scheduler, config.warmup)
            phase.penalty = mask_penalty(masks, config)
            subject = Subject(
                bare, self.backbone, self.kind.views(self.model), masks, self.config.prune, self.config.seed
            )
            recorder = ImportanceRecorder(subject, criterion(subject), config, steps)
            settlement = Settlement(recorder, self._plan_of, config)
            phase.is_done = lambda: settlement.is_settled
            moments = ConsumerMoments(subject, second=self.config.prune.refit, counts=lambda: recorder.is_active)
            with recorder.watching(self.model), moments.watching(self.model, recovery.needs_moments(self.config.prune)):
                self._run_phase(phase, [recorder, settlement])
            self.moments = moments.moments
            self.record.history += settlement.history
            return recorder.scores()

    def decide(self, scores: Scores | None) -> PruningPlan:
        """Return what stays: everything without scores, else what the shares leave; both are files from here on."""
        plan = self.everything
        if scores is not None:
            plan = self._plan_of(scores)
            artifacts.write_tensors(self.folder / artifacts.SCORES, scores.tensors())
        artifacts.write_json(self.folder / artifacts.PLAN, plan.to_json())
        return plan

    def teach(self) -> None:
        """Note what the model before the cut says of every training example, for the model after it to learn from."""
        with self.meter.phase("surgery") as cost:
            outputs = self.examiner.outputs(self.model, self.train_set, cost)
        self.train_set = self.train_set.add_column(TEACHER, outputs.tolist())

    def cut(self, plan: PruningPlan, scores: Scores | None) -> None:
        """Cut model and PEFT along the plan; the surviving PEFT weights and the head carry over."""
        prune, backbone = self.config.prune, self.backbone
        masks = scores.masks if scores is not None and prune.fold_masks else {}
        return_free_memory()
        with self.meter.phase("surgery"):
            views = self.kind.views(self.model)
            increments = recovery.increments_of(views, plan, recovery.touched_paths(prune, backbone, views))
            model, adapter = self.kind.take_off(self.model)
            cuts = plan_cuts(backbone, plan, masks)
            adapter = self.kind.cut(adapter, model, plan.ranks, cuts)
            replaced = recovery.Recovery(prune, cuts, increments, self.moments, masks).tensors(model, backbone)
            self.moments = {}
            cut_backbone(model, backbone, plan, cuts, replaced)
            blocks = count_block_parameters(backbone, model)
            self.model = self.kind.put_on(model, adapter)
            if replaced:
                artifacts.write_tensors(self.folder / artifacts.RECOVERY, replaced)
        self._count_parameters("after", blocks)
        self.record.plan = plan.summary(self.everything)
        parameters = self.record.parameters
        logger.info(
            f"kept {parameters['blocks_after'] / parameters['blocks_before']:.1%} of the blocks, "
            f"{len(plan.ranks)} of {len(self.everything.ranks)} PEFT modules"
        )

    def train(self) -> None:
        """Train the smaller model with a fresh optimizer and schedule; score it after every epoch but the last."""
        config = self.config.train
        groups = trainable_groups(self.model, config.learning_rate, config.weight_decay)
        with self.meter.phase("train"):
            phase = self._phase("train", groups, self._training_steps(), config.scheduler, config.warmup)
            if TEACHER in self.train_set.column_names:
                phase.loss = DistilledLoss(config.distill, config.distill_temperature)
            observers: list[Observer] = [*self.kind.observers(self.model, phase.steps)]
            self._run_phase(phase, [*observers, Every(self._steps_per_epoch(), phase.steps, self.evaluate)])

    def evaluate(self, after_step: int | None = None) -> None:
        """Score the model as it stands and note it as the result so far."""
        record = self.record
        with self.meter.phase("evaluate") as cost:
            metrics = self.examiner.examine(self.model, cost)
        record.metrics, record.primary_metric = metrics, self.examiner.primary_name()
        record.calibration = self.examiner.settings
        record.score = metrics[record.primary_metric]
        record.best_score = max(record.score, -1.0 if record.best_score is None else record.best_score)
        record.history.append({"phase": "evaluate", "step": after_step or self._training_steps(), **metrics})
        logger.info(", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))

    def answer_tests(self) -> None:
        """Answer the test splits too."""
        with self.meter.phase("evaluate") as cost:
            self.examiner.answer_tests(self.model, cost)

    def save(self) -> None:
        """Write adapter, tokenizer and, if asked for, the cut foundation model and the predictions."""
        self.record.base |= save_run(self.folder, self.config, self.model, self.tokenizer)
        if self.config.save.predictions:
            self.examiner.write_predictions(self.folder / artifacts.PREDICTIONS)

    def _run_phase(self, phase: Phase, observers: list[Observer]) -> None:
        """Prepare model, data and optimizer, run the phase, and leave the bare model behind."""
        accelerator, name = self.accelerator, phase.name
        set_seed(self.config.seed)
        padding = self.config.data.padding
        words = padding_words(padding, self.config.max_length)
        collate = self.examiner.formulation.collate(self.tokenizer, training=True, **words)
        size, seed = self.config.train.batch_size, self.config.seed + (name == "estimate")
        loader = train_loader(self.train_set, collate, batch_size=size, padding=padding, seed=seed)
        wrapped, phase.optimizer, batches = accelerator.prepare(self.model, phase.optimizer, loader)
        with phase_progress(self.console, name, phase.steps) as show:

            def on_progress(step: int, loss: float) -> None:
                show(step, loss)
                self.record.history.append({"phase": name, "step": step, "loss": loss})
                logger.debug("%s: step %d of %d, loss %.4f", name, step, phase.steps, loss)

            cost = self.meter.phases[name]
            run_phase(phase, wrapped, batches, accelerator, cost=cost, observers=observers, on_progress=on_progress)
        self.model = accelerator.unwrap_model(wrapped, keep_fp32_wrapper=False)
        accelerator.free_memory()

    def _check_views(self) -> None:
        prune = self.config.prune
        if prune.method != "none":
            views = self.kind.views(self.model)
            of_criterion = criterion_of(prune.criterion).refusals(views, self.backbone)
            if reasons := [*of_criterion, *recovery.refusals(prune, views)]:
                raise ValueError("\n".join(reasons))

    def _plan_of(self, scores: Scores) -> PruningPlan:
        """Decide; modules on sublayers that lose everything are the first to go."""
        plan = make_plan(scores, self.rule)
        if void := modules_on_empty_sites(self.backbone, plan):
            plan = make_plan(scores.with_least(void), self.rule).without(void)
        if self.everything.ranks and not plan.ranks:
            raise ValueError("prune: every PEFT module left lies on a sublayer that loses all it has; cut less")
        return plan

    def _phase(self, name: str, groups: list[ParameterGroup], steps: int, scheduler: str, warmup: float) -> Phase:
        train, optimizer = self.config.train, build_optimizer(groups)
        schedule = build_scheduler(optimizer, kind=scheduler, warmup=warmup, steps=steps)
        loss = self.examiner.formulation.loss
        return Phase(name, steps, optimizer, schedule, train.gradient_accumulation, train.max_grad_norm, loss)

    def _steps_per_epoch(self) -> int:
        batches = math.ceil(len(self.train_set) / (self.config.train.batch_size * self.accelerator.num_processes))
        return math.ceil(batches / self.config.train.gradient_accumulation)

    def _training_steps(self) -> int:
        train = self.config.train
        return train.max_steps or max(1, math.ceil(train.epochs * self._steps_per_epoch()))

    def _estimation_steps(self) -> int:
        return max(1, count_steps(self.config.estimate.steps, self._training_steps()))

    def _count_parameters(self, when: str, blocks: int) -> None:
        total, trainable = count_parameters(self.model, self.backbone.head_modules)
        self.record.parameters |= {f"total_{when}": total, f"blocks_{when}": blocks, f"trainable_{when}": trainable}
