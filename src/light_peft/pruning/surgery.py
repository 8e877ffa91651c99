"""The execution of a plan: every matrix that touches a pruned group is cut once."""

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import nn

from light_peft.model import Backbone
from light_peft.model.cut import MatrixCut, cut_linear, is_linear, replace_parameter, width_out_in
from light_peft.pruning.plan import PruningPlan

EMPTY: Mapping[str, torch.Tensor] = MappingProxyType({})


def plan_cuts(backbone: Backbone, plan: PruningPlan, masks: Mapping[str, torch.Tensor] = EMPTY) -> dict[str, MatrixCut]:
    """Return the cut of every Linear that touches a pruned group, by its path.

    Args:
        backbone: Where the groups are.
        plan: Which groups stay.
        masks: Learned mask values by `<kind>.<layer>`, to fold into the consumers' columns; where
            there is none the survivors go back to 1.
    """
    cuts: dict[str, MatrixCut] = {}
    for site in backbone.sites:
        kept = torch.tensor(plan.kept(site.kind, site.layer), dtype=torch.long)
        if len(kept) < site.count:
            cuts |= {port.path: MatrixCut(rows=port.features(kept, site.count)) for port in site.producers}
            cuts[site.consumer.path] = MatrixCut(columns=site.consumer.features(kept, site.count))
        if (mask := masks.get(f"{site.kind}.{site.layer}")) is not None:
            scale = mask.cpu()[kept].repeat_interleave(site.consumer.size)
            columns = cuts.get(site.consumer.path, MatrixCut()).columns
            cuts[site.consumer.path] = MatrixCut(columns=columns, column_scale=scale)
    return cuts


def cut_backbone(
    model: nn.Module,
    backbone: Backbone,
    plan: PruningPlan,
    cuts: Mapping[str, MatrixCut],
    replaced: Mapping[str, torch.Tensor] = EMPTY,
) -> None:
    """Cut a model that carries no PEFT, in place, one matrix at a time.

    Args:
        model: The foundation model, uncut.
        backbone: Where its groups are.
        plan: Which groups stay.
        cuts: What stays of each Linear, from `plan_cuts`.
        replaced: Weights and biases of the cut model by name that take the place of the cut ones.

    Raises:
        ValueError: If the model's widths are not the ones that the plan was made for.
    """
    check_widths(model, backbone, plan, before=True)
    for path, cut in cuts.items():
        linear = model.get_submodule(path)
        assert is_linear(linear), f"{path} is not a plain Linear"
        cut_linear(linear, cut)
    for name, tensor in replaced.items():
        path, _, attribute = name.rpartition(".")
        replace_parameter(model.get_submodule(path), attribute, tensor)
    for site in backbone.sites:
        kept = plan.kept(site.kind, site.layer)
        if len(kept) < site.count:
            backbone.family.adjust(model, site, len(kept))


def modules_on_empty_sites(backbone: Backbone, plan: PruningPlan) -> set[str]:
    """Return the paths of the Linears whose sublayer loses all its groups, so that PEFT there is void."""
    empty = (site for site in backbone.sites if not plan.kept(site.kind, site.layer))
    return {port.path for site in empty for port in site.ports}


def check_widths(model: nn.Module, backbone: Backbone, plan: PruningPlan, *, before: bool) -> None:
    """Hold the consumers of a model against a plan.

    Raises:
        ValueError: If a consumer's width is not the plan's (before or after the cut); both shapes are named.
    """
    for site in backbone.sites:
        groups = site.count if before else len(plan.kept(site.kind, site.layer))
        consumer = model.get_submodule(site.consumer.path)
        shape = width_out_in(getattr(consumer, "base_layer", consumer))
        expected = (shape[0], groups * site.consumer.size)
        if shape != expected:
            raise ValueError(
                f"wrong base model: {site.consumer.path}.weight has shape {list(shape)}, "
                f"but the plan of this run needs {list(expected)}"
            )
