"""The heads that a model may end in, and which one a task asks of an architecture."""

from dataclasses import dataclass, field
from typing import Any

from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
)

from light_peft.config import TaskConfig

CLASSIFICATION, SPAN, LANGUAGE_MODEL = "classification", "span", "language_model"
CLASSES: dict[str, Any] = {
    CLASSIFICATION: AutoModelForSequenceClassification,
    SPAN: AutoModelForQuestionAnswering,
    LANGUAGE_MODEL: AutoModelForCausalLM,
}
"""Name of a head -> the class that builds a model with it."""


@dataclass(frozen=True)
class Head:
    """A head: its name, and what it asks of the model's configuration."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)

    def check(self, architecture: PretrainedConfig) -> None:
        """Hold the head against what transformers has for the architecture.

        Raises:
            ValueError: If it has no such head.
        """
        if type(architecture) not in CLASSES[self.name]._model_mapping:
            raise ValueError(
                f"model: transformers has no {self.name} head for architecture '{architecture.model_type}'"
            )

    def renaming(self, architecture: PretrainedConfig) -> dict[str, str]:
        """Return what the architecture's weights are called in a model with this head: pattern -> name.

        Empty where they have the same names; some span models hold their backbone as `transformer`, and the
        checkpoints of the other models, which have `model`, would else leave it random.
        """
        own = CLASSES[self.name]._model_mapping[type(architecture)].base_model_prefix
        backbone: Any = AutoModel._model_mapping[type(architecture)]
        usual = backbone.base_model_prefix
        return {} if own == usual else {rf"^{usual}\.": f"{own}."}


def ends_in(model: PreTrainedModel, head: str) -> bool:
    """Return whether `model` is what transformers builds of its architecture with the head of this name."""
    return bool(CLASSES[head]._model_mapping.get(type(model.config), None) is type(model))


def head_of(task: TaskConfig, *, decoder: bool) -> Head:
    """Return the head that `task` asks of a decoder, or of an encoder.

    Raises:
        ValueError: If the task needs a decoder and there is none.
    """
    if task.formulation == "span":
        return Head(SPAN, {"num_labels": 2})  # start and end; encoders size their head by it
    if task.formulation == "generation" or (task.formulation == "choice" and by_likelihood(task, decoder=decoder)):
        if not decoder:
            raise ValueError(f"task={task.name}: it needs a decoder, and this model is an encoder; {_way_out(task)}")
        return Head(LANGUAGE_MODEL)
    if task.formulation in ("choice", "regression"):
        return Head(CLASSIFICATION, {"num_labels": 1, "problem_type": "regression"})
    labels = dict(enumerate(task.labels))
    numbers = {label: number for number, label in labels.items()}
    kind = {"num_labels": len(labels), "problem_type": "single_label_classification"}
    return Head(CLASSIFICATION, kind | {"id2label": labels, "label2id": numbers})


def by_likelihood(task: TaskConfig, *, decoder: bool) -> bool:
    """Return whether candidates are compared by their likelihood."""
    return task.choice.by == "likelihood" or (task.choice.by == "auto" and decoder)


def _way_out(task: TaskConfig) -> str:
    return "take task.choice.by=head" if task.formulation == "choice" else "take model=opt_125m or another decoder"
