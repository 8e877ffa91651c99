"""The estimation phase's eyes: gather importance in the same steps that train PEFT and masks.

Everything is kept as running sums on the device; nothing waits for it before the phase ends.
Shape suffixes: B batch, T tokens, O output width.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from light_peft.config import EstimateConfig
from light_peft.peft_modules import PeftView
from light_peft.pruning.masks import MaskSet
from light_peft.pruning.scores import Scores, importance_ratio_BT, mask_importance, rank_importance_R


class ImportanceRecorder:
    """Watches a phase and averages the importance of PEFT modules and ranks over its last steps.

    A step's importance ratio is the mean over the tokens (padding left out) of all its forward
    passes, so gradient accumulation and recomputed activations change nothing; the score is the mean
    over the steps of the window (`reference`: the second half).
    """

    def __init__(self, views: Mapping[str, PeftView], config: EstimateConfig, steps: int, device: torch.device) -> None:
        self._views = dict(views)
        self._config = config
        self._first = math.floor(steps * (1 - config.window))
        self._step = 0
        self._attention_mask_BT: torch.Tensor | None = None
        modules = len(self._views)
        self._ratio_sum = torch.zeros(modules, device=device)
        self._token_count = torch.zeros(modules, device=device)
        self._ratios = torch.zeros(modules, dtype=torch.float64, device=_float64_device(device))
        self._ranks = {name: torch.zeros(view.rank, device=device) for name, view in self._views.items()}
        self._recorded = 0

    @property
    def _active(self) -> bool:
        return self._step >= self._first

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator["ImportanceRecorder"]:
        """Hook into the forward passes of `model` inside the block."""
        handles = [model.register_forward_pre_hook(self._see_batch, with_kwargs=True)]
        for index, view in enumerate(self._views.values()):
            handles += view.observe(self._sink(index), with_dropout=self._config.ratio_dropout)
        try:
            yield self
        finally:
            for handle in handles:
                handle.remove()

    def after_backward(self, step: int) -> None:
        """Add the first-order Taylor importance of every rank; a module without ranks counts as one of importance 0."""
        if not self._active:
            return
        for name, view in self._views.items():
            if (factors := view.factors()) is None:
                continue
            a_RI, b_OR = factors
            assert a_RI.grad is not None
            assert b_OR.grad is not None
            self._ranks[name] += rank_importance_R(a_RI, a_RI.grad, b_OR, b_OR.grad, self._config.rank_score)

    def after_step(self, step: int) -> None:
        """Close this step's importance ratio."""
        if self._active:
            ratios = torch.nan_to_num(self._ratio_sum / self._token_count, nan=0.0, posinf=0.0, neginf=0.0)
            self._ratios += ratios.to(self._ratios)
            self._ratio_sum.zero_()
            self._token_count.zero_()
            self._recorded += 1
        self._step = step + 1

    def scores(self, masks: MaskSet, compare: str) -> Scores:
        """Return all scores of the phase."""
        ratios = (self._ratios / max(self._recorded, 1)).tolist()
        return Scores(
            attn=tuple(mask_importance(mask, compare) for mask in masks.of("attn")),
            ffn=tuple(mask_importance(mask, compare) for mask in masks.of("ffn")),
            modules=dict(zip(self._views, ratios, strict=True)),
            ranks={name: total / max(self._recorded, 1) for name, total in self._ranks.items()},
            masks=masks.named(),
        )

    def _see_batch(self, _: nn.Module, __: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._attention_mask_BT = kwargs["attention_mask"]

    def _sink(self, index: int) -> Any:
        def add(increment_BTO: torch.Tensor, base_norm_BT: torch.Tensor, scaling: float) -> None:
            if not self._active or not torch.is_grad_enabled():
                return
            assert self._attention_mask_BT is not None
            weights_BT = self._attention_mask_BT.to(base_norm_BT.dtype)
            ratio_BT = importance_ratio_BT(increment_BTO, base_norm_BT, scaling)
            self._ratio_sum[index] += (ratio_BT * weights_BT).sum()
            self._token_count[index] += weights_BT.sum()

        return add


def _float64_device(device: torch.device) -> torch.device:
    """MPS has no float64; there the running mean lies on the host."""
    return torch.device("cpu") if device.type == "mps" else device
