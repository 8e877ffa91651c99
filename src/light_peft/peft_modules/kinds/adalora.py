"""AdaLoRA through HF peft (Zhang et al., arXiv 2303.10512): it allocates the ranks itself, in the training phase.

The importance that it allocates by is its own, so estimation trains all `init_r` ranks and `prune.peft_rank` is 0.
The orthogonal regularisation is added to the loss by HF peft's forward pass.
"""

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from peft import AdaLoraConfig, AdaLoraModel, PeftModel
from peft.tuners.adalora import SVDLinear
from torch import nn
from transformers import PreTrainedModel

from light_peft.config import Config, PeftConfig
from light_peft.model import Backbone
from light_peft.peft_modules.hf import NAME, HfKind, Lay
from light_peft.peft_modules.kind import StepObserver

LAYS = {"lora_A": Lay(input=True), "lora_E": Lay(), "lora_B": Lay(output=0)}
MEMORY = ("ipt", "exp_avg_ipt", "exp_avg_unc")
"""What HF peft's allocator remembers, each a tensor per matrix."""


class RankAllocation:
    """Lets AdaLoRA update its importance and allocate ranks after each optimizer step, as its authors do.

    Until the last step what is not allocated is masked, since the optimizer holds the whole matrices; then it is cut.
    """

    def __init__(self, tuner: AdaLoraModel, steps: int) -> None:
        self._tuner = tuner
        self._steps = steps
        self._gradients: list[tuple[nn.Parameter, torch.Tensor]] = []
        self._is_cut = False

    def after_backward(self, step: int) -> None:
        """Hold on to the gradients, which the optimizer drops."""
        parameters = (parameter for name, parameter in self._tuner.named_parameters() if ".lora_" in name)
        self._gradients = [(parameter, parameter.grad) for parameter in parameters if parameter.grad is not None]

    def after_step(self, step: int) -> None:
        """Allocate, and mask again what the optimizer has moved."""
        for parameter, gradient in self._gradients:
            parameter.grad = gradient
        self._tuner.update_and_allocate(step + 1)
        for parameter, _ in self._gradients:
            parameter.grad = None
        self._gradients = []
        if step + 1 == self._steps:
            self._cut()

    def state(self) -> dict[str, Any]:
        """Return the importance so far and the ranks that are allocated."""
        allocator, config = self._tuner.rankallocator, cast(AdaLoraConfig, self._tuner.peft_config[NAME])
        return {
            "importance": {name: getattr(allocator, name) for name in MEMORY},
            "pattern": config.rank_pattern,
            "is_cut": self._is_cut,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Have seen and allocated what `state` says."""
        allocator, config = self._tuner.rankallocator, cast(AdaLoraConfig, self._tuner.peft_config[NAME])
        for name in MEMORY:
            setattr(allocator, name, dict(state["importance"][name]))
        config.rank_pattern = state["pattern"]
        if state["is_cut"]:
            self._cut()

    def _cut(self) -> None:
        pattern = cast(AdaLoraConfig, self._tuner.peft_config[NAME]).rank_pattern
        self._tuner.resize_modules_by_rank_pattern(pattern, NAME)
        self._is_cut = True


class AdaLora(HfKind):
    """The AdaLoRA kind."""

    settings = frozenset({"r", "init_r", "alpha", "dropout", "targets", "tinit", "tfinal", "delta_t"})
    can_prune = frozenset({"module"})
    layer_type = SVDLinear

    def refusals(self, config: Config) -> Iterator[str]:
        """Yield contradictions of the schedule."""
        peft = config.peft
        if peft.init_r < peft.r:
            yield f"peft.init_r={peft.init_r}: must be at least peft.r={peft.r}, to which adalora reduces the ranks"
        steps = config.train.max_steps
        if steps is not None and steps < MIN_STEPS:
            yield f"train.max_steps={steps}: too short for peft=adalora; it needs {MIN_STEPS} or more"
        if peft.tinit + peft.tfinal >= 1:
            yield f"peft.tinit={peft.tinit:g} and peft.tfinal={peft.tfinal:g}: must sum to less than 1"

    def configure(self, model: PreTrainedModel, backbone: Backbone, config: PeftConfig) -> AdaLoraConfig:
        """Return the configuration for HF peft; tinit and tfinal become steps once the phase is known."""
        return AdaLoraConfig(
            target_r=config.r,
            init_r=config.init_r,
            lora_alpha=cast(int, config.alpha),
            lora_dropout=config.dropout,
            deltaT=config.delta_t,
            total_step=SHARES_OF,
            tinit=round(config.tinit * SHARES_OF),
            tfinal=round(config.tfinal * SHARES_OF),
            target_modules=backbone.paths_of(config.targets),
            modules_to_save=list(backbone.head_modules),
        )

    def lays(self, config: Any, path: str) -> Mapping[str, Lay]:
        """Return how A [R, I], E [R, 1] and B [O, R] lie."""
        return LAYS

    def observers(self, model: nn.Module, steps: int) -> list[StepObserver]:
        """Return the allocation, its schedule stretched over `steps`.

        Raises:
            ValueError: If there is no step to gather importance in before the ranks are final.
        """
        if steps < MIN_STEPS:
            raise ValueError(f"train: {steps} step is too short for peft=adalora; it needs {MIN_STEPS} or more")
        peft_model = cast(PeftModel, model)
        config = cast(AdaLoraConfig, peft_model.peft_config[NAME])
        tinit, tfinal = (round(count * steps / cast(int, config.total_step)) for count in (config.tinit, config.tfinal))
        config.tfinal = min(tfinal, steps - MIN_STEPS)
        config.tinit = min(tinit, steps - config.tfinal - 1)
        config.total_step = steps
        return [RankAllocation(cast(AdaLoraModel, peft_model.base_model), steps)]

    def load(self, base: PreTrainedModel, folder: Path) -> nn.Module:
        """Return `base` with the saved adapter on it, in eval mode; loaded for inference its loss would fail."""
        with warnings.catch_warnings():
            # HF peft takes the allocated ranks from the pattern when it sets the tensors, not where it warns.
            warnings.filterwarnings("ignore", message="The following rank_pattern keys did not match")
            return PeftModel.from_pretrained(base, str(folder), is_trainable=True).requires_grad_(False).eval()


SHARES_OF = 1_000_000
"""Steps of the schedule before the phase is known, so that the configuration holds shares of it."""
MIN_STEPS = 2
"""One gathers importance, one allocates by it."""

KIND = AdaLora()
