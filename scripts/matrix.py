"""Every model family with every PEFT kind: how far the cut model is from the masked one, or why they do not combine.

    python scripts/matrix.py [MODEL ...]        (default: every conf/model/tiny_*.yaml)

Each model gets each kind of `conf/peft` (and its other modes) with random weights, random masks and random scores, and
is pruned by the shares of `prune=light_peft`. The masked model has the learned mask values on what stays and 0 on the
rest; the cut model has them folded in. A cell is the largest difference of their logits over the largest logit, in
fp32. Exit code 1 if a difference is more than rounding.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import nn
from transformers import PreTrainedModel

from light_peft import door
from light_peft.config import Config, config_from_dict
from light_peft.model import Backbone, describe
from light_peft.model.cut import MatrixCut
from light_peft.model.load import load_foundation
from light_peft.peft_modules import Adapter, PeftKind, peft_kind
from light_peft.pruning.masks import masked
from light_peft.pruning.plan import PruneRule, PruningPlan, make_plan
from light_peft.pruning.scores import Scores
from light_peft.pruning.surgery import cut_backbone, plan_cuts
from light_peft.runtime import quiet_libraries

ROUNDING = 1e-5
"""Relative to the largest logit."""
SMALL = ["peft.dropout=0", "peft.virtual_tokens=4", "data.max_length=12"]
MODES = {
    "bottleneck pfeiffer": ["peft=bottleneck", "peft.placement=pfeiffer"],
    "bottleneck parallel": ["peft=bottleneck", "peft.placement=parallel"],
    "miss mini": ["peft=miss", "peft.miss_init=mini", "peft.miss_mini_r=2", "peft.targets=[query,key,value]"],
    "miss bat": ["peft=miss", "peft.miss_init=bat", "peft.r=2", "peft.targets=[query,key,value]"],
    "miss attn_output": ["peft=miss", "peft.r=2", "peft.targets=[value,attn_output]", "prune.fold_masks=false"],
}
"""What else a kind of `conf/peft` can be."""


def columns() -> dict[str, list[str]]:
    """Return the words that choose each kind and each further mode."""
    files = sorted((door.conf_dir() / "peft").glob("*.yaml"))
    return {path.stem: [f"peft={path.stem}"] for path in files} | MODES


def configured(*words: str) -> Config:
    """Return the configuration that these words compose to, for a tiny model."""
    return composed(*SMALL, *words)


def composed(*words: str) -> Config:
    """Return the configuration that these words of the command line compose to."""
    with initialize_config_dir(str(door.conf_dir()), version_base="1.3"):
        return config_from_dict(OmegaConf.to_container(compose("config", list(words)), resolve=True))


@dataclass
class Trial:
    """One kind on one model, randomly trained and randomly pruned.

    Attributes:
        adapter: The cut adapter.
        cuts: The cut of each Linear.
        cut: The cut model, in eval mode.
        logits: Those before anything is cut, of the masked model, and of the cut one.
    """

    kind: PeftKind
    backbone: Backbone
    plan: PruningPlan
    cuts: dict[str, MatrixCut]
    adapter: Adapter
    cut: nn.Module
    logits: tuple[torch.Tensor, torch.Tensor, torch.Tensor]

    @property
    def difference(self) -> float:
        """Return the largest difference of the logits over the largest logit."""
        _, from_masked, from_cut = self.logits
        return float((from_masked - from_cut).abs().max() / from_masked.abs().max())


def refusals(config: Config, model: PreTrainedModel) -> list[str]:
    """Return why this kind and this model do not combine; empty if they do."""
    kind = peft_kind(config.peft.kind)
    return [*kind.refusals(config), *kind.model_refusals(config, model, describe(model))]


@torch.no_grad()
def attach_random(config: Config, model: PreTrainedModel) -> tuple[nn.Module, Backbone]:
    """Return `model` with the configured PEFT, everything that can be trained moved a little."""
    backbone = describe(model)
    attached = peft_kind(config.peft.kind).attach(model, backbone, config.peft).eval()
    for parameter in attached.parameters():
        if parameter.requires_grad:
            parameter += 0.1 * torch.randn_like(parameter)
    return attached, backbone


@torch.no_grad()
def try_out(config: Config, model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> Trial:
    """Return the trial of one cell; `model` is used up."""
    kind = peft_kind(config.peft.kind)
    attached, backbone = attach_random(config, model)
    plan = random_plan(config, kind, attached, backbone)
    before = attached(**batch).logits
    with masked(kind.bare(attached), backbone.sites) as masks, silenced(kind, attached, plan):
        for mask in masks.masks.values():
            mask.copy_(torch.rand(mask.shape) + 0.5)
        learned = masks.named() if config.prune.fold_masks else {}
        kept = {site: plan.kept(site.kind, site.layer) for site in backbone.sites}
        masks.zero_except(kept, keep_values=config.prune.fold_masks)
        from_masked = attached(**batch).logits
    bare, adapter = kind.take_off(attached)
    cuts = plan_cuts(backbone, plan, learned)
    adapter = kind.cut(adapter, bare, plan.ranks, cuts)
    cut_backbone(bare, backbone, plan, cuts)
    cut = kind.put_on(bare, adapter).eval()
    return Trial(kind, backbone, plan, cuts, adapter, cut, (before, from_masked, cut(**batch).logits))


def random_plan(config: Config, kind: PeftKind, model: nn.Module, backbone: Backbone) -> PruningPlan:
    """Return a plan by random scores and the configured shares; half of the modules stay."""
    rule = PruneRule.of(config.prune)
    rule = replace(rule, peft_module=min(rule.peft_module, 0.5))
    ranks = {path: view.rank for path, view in kind.views(model).items()}
    return make_plan(random_scores(backbone, ranks), rule)


def random_scores(backbone: Backbone, ranks: Mapping[str, int], seed: int = 3) -> Scores:
    """Return random scores of all groups and of PEFT modules with so many ranks."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    return Scores(
        attn=tuple(draw(site.count) for site in backbone.sites_of("attn")),
        ffn=tuple(draw(site.count) for site in backbone.sites_of("ffn")),
        modules={path: float(draw(1)) for path in ranks},
        ranks={path: draw(rank) for path, rank in ranks.items()},
    )


@contextmanager
def silenced(kind: PeftKind, model: nn.Module, plan: PruningPlan) -> Iterator[None]:
    """Turn off, inside the block, what the plan cuts of PEFT: modules are passed by, ranks get a zero factor."""
    passed_by = []
    for path, view in kind.views(model).items():
        if path not in plan.ranks:
            layer = kind.bare(model).get_submodule(path)
            layer.forward = layer.base_layer.forward
            passed_by.append(layer)
        elif (factors := view.factors()) is not None:
            factors[1].data[:, sorted(set(range(view.rank)) - set(plan.ranks[path]))] = 0.0
    try:
        yield
    finally:
        for layer in passed_by:
            del layer.forward


def cell(words: list[str], model_name: str) -> float | str:
    """Return the difference of one cell, or why the two do not combine."""
    torch.manual_seed(0)
    config = configured(f"model={model_name}", *words)
    model = load_foundation(config.model, config.task).model
    if reasons := refusals(config, model):
        return "; ".join(reasons)
    ids = torch.randint(5, model.config.vocab_size, (8, config.max_length))
    mask = (torch.arange(config.max_length) < torch.randint(4, config.max_length + 1, (8, 1))).long()
    return try_out(config, model, {"input_ids": ids, "attention_mask": mask}).difference


def main(models: list[str]) -> int:
    """Print a row per kind, a column per model, and below it the reason of each empty cell."""
    door.register()
    quiet_libraries()
    models = models or sorted(path.stem for path in (door.conf_dir() / "model").glob("tiny_*.yaml"))
    print("|", " | ".join(["", *models]), "|\n|---" + "|---" * len(models) + "|", flush=True)
    cells: dict[tuple[str, str], float | str] = {}
    for name, words in columns().items():
        cells |= {(name, model): cell(words, model) for model in models}
        row = [f"{c:.1e}" if isinstance(c := cells[name, model], float) else "-" for model in models]
        print("|", " | ".join([name, *row]), "|", flush=True)
    for (name, model), reason in cells.items():
        if isinstance(reason, str):
            print(f"{name} on {model}: {reason}")
    return int(not all(c <= ROUNDING for c in cells.values() if isinstance(c, float)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
