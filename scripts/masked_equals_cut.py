"""How far the cut model is from the masked model: the largest difference of their logits, in fp32.

    python scripts/masked_equals_cut.py [MODEL ...]        (default: tiny_bert tiny_roberta minilm)

Each model of `conf/model` named gets LoRA with random weights on all six projections, random masks and random
scores; a third of the heads, 40 % of the neurons, half of the modules and half of the ranks go. The masked model has
the learned values on what stays and 0 on the rest; the cut model has them folded in. Exit code 1 if a difference is
more than rounding.
"""

import sys

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from light_peft import door
from light_peft.config import Config, config_from_dict
from light_peft.model import Backbone, describe
from light_peft.model.load import load_foundation
from light_peft.peft_modules import peft_kind
from light_peft.pruning.masks import masked
from light_peft.pruning.plan import PruneRule, make_plan
from light_peft.pruning.scores import Scores
from light_peft.pruning.surgery import cut_backbone, plan_cuts
from light_peft.runtime import quiet_libraries

RULE = PruneRule(attn=1 / 3, ffn=0.4, peft_module=0.5, peft_rank=0.5)
ROUNDING = 1e-5
"""Relative to the largest logit."""


def configured(model: str) -> Config:
    """Return the configuration of a run of this model."""
    with initialize_config_dir(str(door.conf_dir()), version_base="1.3"):
        composed = compose("config", [f"model={model}", "peft.dropout=0"])
    return config_from_dict(OmegaConf.to_container(composed, resolve=True))


@torch.no_grad()
def difference(config: Config) -> tuple[float, float]:
    """Return the largest difference of the logits and the largest logit."""
    torch.manual_seed(0)
    kind, batch = peft_kind("lora"), {"input_ids": torch.randint(1000, 20000, (8, 32))}
    batch["attention_mask"] = (torch.arange(32) < torch.randint(4, 33, (8, 1))).long()
    foundation = load_foundation(config.model, config.task).model
    backbone = describe(foundation)
    model = kind.attach(foundation, backbone, config.peft).eval()
    for view in kind.views(model).values():
        torch.nn.init.normal_(view.factors()[1], std=0.1)
    ranks = {path: torch.rand(view.rank) for path, view in kind.views(model).items()}
    scores = Scores(*random_groups(backbone), {path: float(torch.rand(())) for path in ranks}, ranks)
    plan = make_plan(scores, RULE)
    for path, view in kind.views(model).items():
        view.factors()[1][:, sorted(set(range(view.rank)) - set(plan.ranks.get(path, ())))] = 0.0
    with masked(kind.bare(model), backbone.sites) as masks:
        for mask in masks.masks.values():
            mask.copy_(torch.rand(mask.shape) + 0.5)
        learned = masks.named()
        kept = {site: plan.kept(site.kind, site.layer) for site in backbone.sites}
        masks.zero_except(kept, keep_values=True)
        from_masked = model(**batch).logits
    bare, adapter = kind.take_off(model)
    cuts = plan_cuts(backbone, plan, learned)
    cut_backbone(bare, backbone, plan, cuts)
    from_cut = kind.put_on(bare, kind.cut(adapter, plan.ranks, cuts)).eval()(**batch).logits
    return float((from_masked - from_cut).abs().max()), float(from_masked.abs().max())


def random_groups(backbone: Backbone) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
    """Return random scores of the heads and of the neurons."""
    heads, neurons = (tuple(torch.rand(s.count) for s in backbone.sites_of(kind)) for kind in ("attn", "ffn"))
    return heads, neurons


def main(models: list[str]) -> int:
    """Print a line per model."""
    door.register()
    quiet_libraries()
    worst = 0.0
    for name in models or ["tiny_bert", "tiny_roberta", "minilm"]:
        largest, scale = difference(configured(name))
        worst = max(worst, largest / scale)
        print(f"{name:14} largest difference {largest:.1e}, largest logit {scale:.3f}")
    return int(worst > ROUNDING)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
