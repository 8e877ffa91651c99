"""The estimation phase's eyes: gather importance in the same steps that train PEFT and masks.

Shape suffixes: B batch, T tokens, N tokens of a batch in a row, M modules, R rank.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from light_peft.config import EstimateConfig
from light_peft.pruning.averages import WindowMean
from light_peft.pruning.criteria import Criterion, Subject
from light_peft.pruning.masks import MaskSet
from light_peft.pruning.scores import Scores, importance_ratio_BT, rank_importance_R
from light_peft.training.optim import ParameterGroup

Norms = tuple[torch.Tensor, torch.Tensor]
"""Of the increment and of the base layer's output, for each token [N]."""


class ImportanceRecorder:
    """Watches a phase and averages the importance of groups, PEFT modules and ranks over its last steps.

    A step's importance ratio is the mean over the tokens (padding left out) of all its forward passes on all
    processes, so gradient accumulation and recomputed activations change nothing; the score is the mean
    over the steps of the window (`reference`: the second half). Steps before it are not watched, and cost what a
    step of training costs.
    """

    def __init__(
        self,
        subject: Subject,
        criterion: Criterion,
        config: EstimateConfig,
        steps: int,
        counts: Callable[[], bool] = lambda: True,
    ) -> None:
        """Watch `subject` for at most `steps` optimizer steps; `counts` says whether the batch of the moment does."""
        self._subject, self._criterion, self._config, self._counts = subject, criterion, config, counts
        settles = config.stop == "settled"
        first = 0 if settles else math.floor(steps * (1 - config.window))
        self.means = WindowMean(first, config.window, stretch=config.check_every if settles else None)
        self._step = 0
        self._tokens_BT: torch.Tensor | None = None
        modules, device = len(subject.views), next(subject.model.parameters()).device
        self._ratio_sum = torch.zeros(modules, device=device)
        self._token_count = torch.zeros(modules, device=device)
        self._norms: dict[int, Norms] = {}
        self._model: nn.Module | None = None
        self._handles: list[Any] = []
        self._look()

    @property
    def is_active(self) -> bool:
        """Whether the current step and batch count."""
        return self.means.counts(self._step) and self._counts()

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator["ImportanceRecorder"]:
        """Hook into the forward passes of `model` inside the block, from the first step that counts on."""
        self._model = model
        self._look()
        try:
            yield self
        finally:
            for handle in self._handles:
                handle.remove()
            self._model, self._handles = None, []

    def after_backward(self, step: int) -> None:
        """Add this step's importance: of ranks by first-order Taylor, of groups by the criterion."""
        if self.means.counts(step):
            groups = self._criterion.of_step()
            values = {f"group.{index}": value for index, value in enumerate(groups)}
            values |= {f"rank.{name}": value for name, value in self._rank_importance()}
            sums, counts = self._subject.sums(self._ratio_sum, self._token_count)
            self.means.add(step, values | {"ratio": sums / counts})
        self._ratio_sum.zero_()
        self._token_count.zero_()
        self._subject.masks.forget_watched_gradients()

    def after_step(self, step: int) -> None:
        """Begin the next step."""
        self._step = step + 1
        self._look()

    def scores(self) -> Scores:
        """Return all scores as they stand, after one step that counts or more."""
        assert not self.means.is_empty
        means = self.means.mean()
        sites, views = self._subject.sites, self._subject.views
        groups = [means[f"group.{index}"] for index in range(len(sites)) if f"group.{index}" in means]
        importance = dict(zip(sites, self._criterion.importance(groups), strict=True))
        return Scores(
            attn=tuple(value.float() for site, value in importance.items() if site.kind == "attn"),
            ffn=tuple(value.float() for site, value in importance.items() if site.kind == "ffn"),
            modules=dict(zip(views, means["ratio"].tolist(), strict=True)),
            ranks={name: means[f"rank.{name}"].float() for name in views},
            masks=self._subject.masks.named(),
        )

    def state(self) -> dict[str, Any]:
        """Return what has been measured so far."""
        return {"step": self._step, "means": self.means.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Have measured what `state` says."""
        self._step = state["step"]
        self.means.restore(state["means"])
        self._look()

    @property
    def is_open(self) -> bool:
        """Whether a forward pass is under way that counts."""
        return self._tokens_BT is not None

    def take(self, index: int, increment_norm_BT: torch.Tensor, base_norm_BT: torch.Tensor) -> None:
        """Keep the norms of a module's tokens to the end of the forward pass."""
        assert self._tokens_BT is not None
        # DeBERTa sends its relative positions through query and key as well, behind the tokens.
        if base_norm_BT.numel() == self._tokens_BT.numel() and index not in self._norms:
            self._norms[index] = (increment_norm_BT.flatten(), base_norm_BT.flatten())  # OPT has flattened some already

    def _rank_importance(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the importance of each module's ranks; a module without ranks counts as one rank of importance 0."""
        for name, view in self._subject.views.items():
            if (factors := view.factors()) is None:
                yield name, torch.zeros(view.rank, device=self._ratio_sum.device)
                continue
            a_RI, b_OR = factors
            assert a_RI.grad is not None
            assert b_OR.grad is not None
            yield name, rank_importance_R(a_RI, a_RI.grad, b_OR, b_OR.grad, self._config.rank_score)

    def _look(self) -> None:
        """Watch masks and model if the current step counts, as all behind it then do."""
        counts = self.means.counts(self._step)
        self._subject.masks.is_watching = counts
        if self._model is None or not counts or self._handles:
            return
        self._handles = [self._model.register_forward_pre_hook(self._see_batch, with_kwargs=True)]
        self._handles += self._criterion.hooks()
        self._handles.append(self._model.register_forward_hook(self._after_forward))
        for index, view in enumerate(self._subject.views.values()):
            self._handles += view.observe(ModuleSink(self, index), with_dropout=self._config.ratio_dropout)

    def _see_batch(self, _: nn.Module, __: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._norms, self._tokens_BT = {}, None
        if self.is_active and torch.is_grad_enabled():
            self._tokens_BT = kwargs["attention_mask"]

    def _after_forward(self, *_: object) -> None:
        if self._tokens_BT is not None:
            self._criterion.after_forward(self._tokens_BT)
            self._add_ratios(self._tokens_BT.flatten())
        # What the backward pass computes again has been counted by now.
        self._norms, self._tokens_BT = {}, None

    def _add_ratios(self, tokens_N: torch.Tensor) -> None:
        """Add the ratios of a forward pass, all modules at a time."""
        if not self._norms:
            return
        seen = list(self._norms)
        which = slice(None) if seen == list(range(len(self._ratio_sum))) else seen  # a list would go by way of the host
        increments_MN, bases_MN = (torch.stack(norms) for norms in zip(*self._norms.values(), strict=True))
        weights_N = tokens_N.to(bases_MN.dtype)
        self._ratio_sum[which] += (importance_ratio_BT(increments_MN, bases_MN) * weights_N).sum(dim=1)
        self._token_count[which] += weights_N.sum()


class ModuleSink:
    """Where one module's norms go."""

    def __init__(self, recorder: ImportanceRecorder, index: int) -> None:
        self._recorder, self._index = recorder, index

    @property
    def is_open(self) -> bool:
        """Whether the forward pass of the moment counts."""
        return self._recorder.is_open

    def __call__(self, increment_norm_BT: torch.Tensor, base_norm_BT: torch.Tensor) -> None:
        """Keep the norms of the batch's tokens to the end of the forward pass."""
        self._recorder.take(self._index, increment_norm_BT, base_norm_BT)


def mask_groups(masks: MaskSet, learning_rate: float, config: EstimateConfig) -> list[ParameterGroup]:
    """Return the masks with their own rates and no weight decay, if they are learned."""
    if masks.use != "learned":
        return []
    neuron_factor = config.mask_lr_factor if config.ffn_mask_lr_factor is None else config.ffn_mask_lr_factor
    return [
        ParameterGroup(masks.of("attn"), learning_rate * config.mask_lr_factor),
        ParameterGroup(masks.of("ffn"), learning_rate * neuron_factor),
    ]


def mask_penalty(masks: MaskSet, config: EstimateConfig) -> Callable[[], torch.Tensor] | None:
    """Return l1_attn * sum|m| + l1_ffn * sum|m| as a function of the masks of the moment, if they are learned."""
    if masks.use != "learned":
        return None
    return lambda: config.l1_attn * masks.l1("attn") + config.l1_ffn * masks.l1("ffn")
