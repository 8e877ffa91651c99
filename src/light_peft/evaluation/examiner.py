"""A model is asked about the splits of a run, and its answers are scored."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
from accelerate import Accelerator
from torch import nn
from transformers import PreTrainedTokenizerBase

from light_peft.config import Config
from light_peft.data.batches import eval_loader, padding_words
from light_peft.evaluation.metrics import check_metrics
from light_peft.evaluation.predict import predict
from light_peft.evaluation.score import primary_name, score_splits
from light_peft.evaluation.submission import check_form, check_ids, check_submission, write_predictions
from light_peft.meter import PhaseCost, part
from light_peft.tasks.encoding import encoded
from light_peft.tasks.formulation import IDX, Answers, Formulation
from light_peft.tasks.splits import Splits

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvalSet:
    """A split that is answered: its examples, and what a model reads of them."""

    examples: datasets.Dataset
    features: datasets.Dataset


class Examiner:
    """Knows the splits that a model is asked about, and how a task's formulation asks.

    Attributes:
        settings: What the formulation has found on held-out training examples; it decides with them.
        answers: The last answers to each split.
    """

    def __init__(
        self, config: Config, formulation: Formulation, tokenizer: PreTrainedTokenizerBase, accelerator: Accelerator
    ) -> None:
        self.config, self.formulation = config, formulation
        self.tokenizer, self.accelerator = tokenizer, accelerator
        self.settings: dict[str, float] = {}
        self.answers: dict[str, Answers] = {}
        self._held_out: EvalSet | None = None
        self._validation: dict[str, EvalSet] = {}
        self._test: dict[str, EvalSet] = {}

    def take(self, splits: Splits) -> None:
        """Encode the splits that are asked about from now on.

        Raises:
            ValueError: If predictions are to be written, and the examples' ids do not allow it.
        """
        if self.config.save.predictions:
            for name, examples in (splits.validation | splits.test).items():
                check_ids(self.config.task, name, ids_of(examples))
        self._held_out = self._encoded({"": splits.held_out})[""] if splits.held_out is not None else None
        self._validation, self._test = self._encoded(splits.validation), self._encoded(splits.test)

    def features(self, examples: datasets.Dataset, *, training: bool) -> datasets.Dataset:
        """Return what a model reads of the examples."""
        config = self.config
        return encoded(
            self.formulation,
            examples,
            self.tokenizer,
            max_length=config.max_length,
            training=training,
            cache_dir=config.data.cache_dir,
        )

    def examine(self, model: nn.Module, cost: PhaseCost) -> dict[str, float]:
        """Return the metrics of `model` on the validation splits, calibrated anew where there is data held out.

        Raises:
            ValueError: If the primary metric has no figure there, such as one of answers where there are none.
        """
        if self._held_out is not None:
            outputs = self.outputs(model, self._held_out.features, cost)
            self.settings = self.formulation.calibrate(outputs, self._held_out.features, self._held_out.examples)
        self.answers = self._asked(model, self._validation, cost)
        with part(cost, "post_processing"):
            metrics = score_splits(self.config.task, self.answers)
        if (name := self.primary_name()) not in metrics:
            raise ValueError(
                f"task.primary_metric={name}: it has no figure on this split; there are: {', '.join(metrics)}"
            )
        return metrics

    def answer_tests(self, model: nn.Module, cost: PhaseCost) -> None:
        """Add the answers of `model` to the test splits."""
        self.answers |= self._asked(model, self._test, cost)

    def write_predictions(self, folder: Path) -> None:
        """Write the last answers to every split below `folder`, as the benchmark takes them."""
        for name, split in (self._validation | self._test).items():
            ids = ids_of(split.examples)
            path = write_predictions(folder, self.config.task, name, self.answers[name], ids)
            logger.info("%s: %d predictions in %s", name, len(ids), path)

    def primary_name(self) -> str:
        """Return the name, among the metrics of `examine`, of the one that is the score."""
        return primary_name(self.config.task, self._validation)

    def outputs(self, model: nn.Module, features: datasets.Dataset, cost: PhaseCost) -> np.ndarray:
        """Return what is kept of the model's outputs for each of the features, in their order."""
        config = self.config
        words = padding_words(config.data.padding, config.max_length)
        collate = self.formulation.collate(self.tokenizer, training=False, **words)
        share = (self.accelerator.process_index, self.accelerator.num_processes)
        size, padding = config.train.eval_batch_size, config.data.padding
        loader = eval_loader(features, collate, batch_size=size, padding=padding, share=share)
        with part(cost, "inference"):
            return predict(self.formulation, model, loader, self.accelerator, cost=cost)

    def _encoded(self, splits: Mapping[str, datasets.Dataset]) -> dict[str, EvalSet]:
        return {name: EvalSet(examples, self.features(examples, training=False)) for name, examples in splits.items()}

    def _asked(self, model: nn.Module, splits: Mapping[str, EvalSet], cost: PhaseCost) -> dict[str, Answers]:
        found = {}
        for name, split in splits.items():
            outputs = self.outputs(model, split.features, cost)
            with part(cost, "post_processing"):
                found[name] = self.formulation.answers(outputs, split.features, split.examples, self.settings)
        return found


def check_asked(config: Config) -> None:
    """Hold what is asked of the answers against what the task's answers will be; nothing is read for it.

    Raises:
        ValueError: If a metric or the form of the predictions is unknown or does not fit.
    """
    check_metrics(config.task)
    check_form(config.task.submission.format)
    if config.save.predictions:
        check_submission(config.task)


def ids_of(examples: datasets.Dataset) -> list[str]:
    """Return what identifies each example in predictions: its id, or else its number, from 0."""
    return examples[IDX][:] if IDX in examples.column_names else list(map(str, range(len(examples))))
