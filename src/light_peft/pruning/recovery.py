"""What is cut still contributed: weights that make up for it, computed once at the cut.

Each way changes the weights that stay and nothing of the structure but a bias where there was none.
Shape suffixes: O output, I input, K kept columns, C cut columns.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from light_peft.config import PruneConfig
from light_peft.model import Backbone, Site
from light_peft.model.cut import MatrixCut, weight_OI
from light_peft.peft_modules import PeftView
from light_peft.pruning.moments import Moments
from light_peft.pruning.plan import PruningPlan

RIDGE = 1e-2
"""Added to the diagonal of the second moments, relative to its mean."""


@dataclass(frozen=True)
class Increments:
    """What one PEFT module adds to its Linear's weight [O, I]: all of it, and the part that is cut."""

    whole_OI: torch.Tensor
    cut_OI: torch.Tensor


def increments_of(views: Mapping[str, PeftView], plan: PruningPlan, paths: set[str]) -> dict[str, Increments]:
    """Return the increments of the modules on `paths`, where the kind has such matrices."""
    found = {}
    for path, view in views.items():
        if path in paths and (whole_OI := view.increment_OI()) is not None:
            kept = view.increment_OI(plan.ranks.get(path, ()))
            assert kept is not None
            found[path] = Increments(whole_OI, whole_OI - kept)
    return found


def refusals(config: PruneConfig, views: Mapping[str, PeftView]) -> Iterator[str]:
    """Say what of the configured ways cannot be done with these PEFT modules."""
    if config.merge_cut_peft and not any(view.increment_OI() is not None for view in views.values()):
        yield (
            "prune.merge_cut_peft=true: this PEFT kind adds nothing to weights that could be merged in part; set it to "
            "false, or take peft=lora"
        )


def needs_moments(config: PruneConfig) -> bool:
    """Return whether the configured ways need to know what enters the consumers."""
    return config.compensate_bias or config.refit


def touched_paths(config: PruneConfig, backbone: Backbone, views: Mapping[str, PeftView]) -> set[str]:
    """Return the Linears whose increments the configured ways use."""
    consumers = {site.consumer.path for site in backbone.sites} if needs_moments(config) else set()
    return consumers | (set(views) if config.merge_cut_peft else set())


class Recovery:
    """Computes, on the uncut model, the weights and biases that replace those of the plain cut."""

    def __init__(
        self,
        config: PruneConfig,
        cuts: Mapping[str, MatrixCut],
        increments: Mapping[str, Increments],
        moments: Mapping[str, Moments],
        masks: Mapping[str, torch.Tensor],
    ) -> None:
        """Take what is known at the cut; `masks` are the learned values that are folded, as for `plan_cuts`."""
        self._config, self._cuts, self._increments = config, cuts, increments
        self._moments, self._masks = moments, masks

    @torch.no_grad()
    def tensors(self, model: nn.Module, backbone: Backbone) -> dict[str, torch.Tensor]:
        """Return the replaced tensors of the cut model by name, `<path>.weight` or `<path>.bias`.

        Args:
            model: The foundation model without PEFT, still uncut.
            backbone: Where its sites are.
        """
        replaced: dict[str, torch.Tensor] = {}
        if self._config.merge_cut_peft:
            for path in self._increments:
                cut = self._cuts.get(path, MatrixCut())
                merged_OI, dtype = self._merged_OI(model, path), weight_OI(model.get_submodule(path)).dtype
                replaced[f"{path}.weight"] = cut.of_input(cut.of_output(merged_OI)).to(dtype)
        for site in backbone.sites:
            if needs_moments(self._config) and site.consumer.path in self._moments:
                replaced |= self._of_consumer(model, site)
        return replaced

    def _merged_OI(self, model: nn.Module, path: str) -> torch.Tensor:
        """Return the weight with what cut PEFT has learned added to it, if that is wanted."""
        dense_OI = weight_OI(model.get_submodule(path)).float()
        increment = self._increments.get(path)
        return dense_OI + increment.cut_OI if increment is not None and self._config.merge_cut_peft else dense_OI

    def _of_consumer(self, model: nn.Module, site: Site) -> dict[str, torch.Tensor]:
        """Make up for the cut columns: by the mean (An et al., FLAP, arXiv 2312.11983), by the kept columns
        (Kwon et al., arXiv 2204.09656; Kurtic et al., ZipLM, arXiv 2302.04089), or by both as one affine fit.
        """
        path, linear = site.consumer.path, model.get_submodule(site.consumer.path)
        cut, moments, dtype = (
            self._cuts.get(path, MatrixCut()),
            self._moments[path],
            weight_OI(linear).dtype,
        )
        if cut.columns is None:
            return {}
        kept = cut.columns.to(moments.sum_I.device)
        gone = torch.ones_like(moments.sum_I, dtype=torch.bool).index_fill(0, kept, False).nonzero().squeeze(1)
        lost_OC = self._acting_OI(model, site)[:, gone]
        mean_I = moments.mean_I()
        replaced, refit_OK = {}, torch.zeros(lost_OC.shape[0], len(kept), device=lost_OC.device)
        if self._config.refit:
            refit_OK = lost_OC @ stand_in_CK(moments.second_II(centered=self._config.compensate_bias), kept, gone)
            replaced[f"{path}.weight"] = (cut.of_input(self._merged_OI(model, path)) + refit_OK).to(dtype)
        if self._config.compensate_bias:
            bias = getattr(linear, "bias", None)
            mean_O = lost_OC @ mean_I[gone] - refit_OK @ mean_I[kept]
            replaced[f"{path}.bias"] = (mean_O if bias is None else bias.float() + mean_O).to(dtype)
        return replaced

    def _acting_OI(self, model: nn.Module, site: Site) -> torch.Tensor:
        """Return the weight that acted before the cut, PEFT and the masks to be folded included."""
        path = site.consumer.path
        acting_OI = weight_OI(model.get_submodule(path)).float()
        if (increment := self._increments.get(path)) is not None:
            acting_OI = acting_OI + increment.whole_OI
        mask = self._masks.get(f"{site.kind}.{site.layer}")
        return acting_OI if mask is None else acting_OI * mask.to(acting_OI).repeat_interleave(site.consumer.size)


def stand_in_CK(second_II: torch.Tensor, kept: torch.Tensor, gone: torch.Tensor) -> torch.Tensor:
    """Return the map that tells the cut columns from the kept ones with the least squared error.

    S_ck (S_kk + ridge)^-1 for second moments S of the inputs.
    """
    kept_KK = second_II[kept][:, kept]
    ridge = RIDGE * kept_KK.diagonal().mean().clamp_min(torch.finfo(torch.float32).tiny)
    kept_KK = kept_KK + ridge * torch.eye(len(kept), device=kept_KK.device)
    return torch.linalg.solve(kept_KK, second_II[kept][:, gone]).T
