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
    if not model.supports_gradient_checkpointing:
        yield from recomputing_refused(config, f"'{model.config.model_type}' cannot compute its activations again")


def recomputing_refused(config: Config, reason: str) -> Iterator[str]:
    """Yield for each phase that asks to compute its activations again that it cannot, why, and the way out."""
    wanted = {"estimate": config.estimate.gradient_checkpointing and config.prune.method != "none"}
    wanted["train"] = config.train.gradient_checkpointing
    for phase in (phase for phase, is_wanted in wanted.items() if is_wanted):
        yield (
            f"{phase}.gradient_checkpointing=true: {reason}; set it to false, and {phase}.micro_batches higher if "
            "memory is short"
        )
