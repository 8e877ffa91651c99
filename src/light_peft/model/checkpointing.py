"""Activations that are computed again in the backward pass instead of being kept for it."""

from collections.abc import Iterator
from contextlib import contextmanager

from transformers import PreTrainedModel

from light_peft.config import Config


@contextmanager
def recomputing(model: PreTrainedModel, wanted: bool) -> Iterator[None]:
    """Within the block keep nothing of a block of layers of `model` but its input, if that is wanted.

    Gradients stay the same, dropout included; where nothing trains, the backward pass does not go. Afterwards the
    model is as before.
    """
    if not wanted:
        yield
        return
    model.activation_checkpointing_enable({"use_reentrant": False})
    # It lets the embeddings have gradients, which the way without re-entrance needs not: the backward pass would not
    # end at the lowest layer that trains.
    model.disable_input_require_grads()
    try:
        yield
    finally:
        model.activation_checkpointing_disable()


def checkpointing_refusals(config: Config, model: PreTrainedModel) -> Iterator[str]:
    """Yield the phases for which this model cannot compute its activations again."""
    phases = {"estimate": config.estimate.gradient_checkpointing and config.prune.method != "none"}
    phases["train"] = config.train.gradient_checkpointing
    for phase, wanted in phases.items():
        if wanted and not model.supports_gradient_checkpointing:
            yield (
                f"{phase}.gradient_checkpointing=true: '{model.config.model_type}' cannot compute its activations "
                f"again; set it to false, and {phase}.micro_batches higher if memory is short"
            )
