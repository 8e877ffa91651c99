"""How much memory the surgery of a model takes: the highest resident memory over the bytes of the model.

    python scripts/surgery_memory.py MODEL [OVERRIDE ...]        (such as random_roberta_large, random_opt_1.3b)

The model of `conf/model` gets LoRA as configured (overrides are those of a run, such as model.dtype=bf16 or
prune.ffn=0.5), random scores decide, and the surgery of a run follows: PEFT off, cut, PEFT on again. From the
resident memory of the process its value before the model was loaded is taken away. Needs Linux, with a resettable peak.
"""

import gc
import sys
import time

import torch

from light_peft import door
from light_peft.config import Config
from light_peft.meter import read_and_reset_peak
from light_peft.model import count_block_parameters, describe
from light_peft.model.load import load_foundation
from light_peft.peft_modules import peft_kind
from light_peft.pruning.plan import PruneRule, make_plan
from light_peft.pruning.surgery import cut_backbone, modules_on_empty_sites, plan_cuts
from light_peft.runtime import quiet_libraries
from matrix import composed, random_scores

CPU = torch.device("cpu")


def resident() -> int:
    """Return the resident memory in bytes: the peak of a moment in which nothing happens."""
    gc.collect()
    read_and_reset_peak(CPU)
    return read_and_reset_peak(CPU)


def measure(config: Config) -> dict[str, float]:
    """Return what the surgery took, in bytes and seconds."""
    torch.manual_seed(config.seed)
    before = resident()
    foundation = load_foundation(config.model, config.task)
    backbone, kind = describe(foundation.model), peft_kind(config.peft.kind)
    model = kind.attach(foundation.model, backbone, config.peft)
    del foundation
    size = sum(parameter.nbytes for parameter in model.parameters())
    ranks = {path: view.rank for path, view in kind.views(model).items()}
    rule = PruneRule.of(config.prune)
    plan = make_plan(random_scores(backbone, ranks), rule)
    plan = plan.without(modules_on_empty_sites(backbone, plan) & set(ranks))
    loaded, start = resident(), time.perf_counter()
    bare, adapter = kind.take_off(model)
    del model
    cuts = plan_cuts(backbone, plan)
    blocks = count_block_parameters(backbone, bare)
    adapter = kind.cut(adapter, bare, plan.ranks, cuts)
    cut_backbone(bare, backbone, plan, cuts)
    kept = count_block_parameters(backbone, bare) / blocks
    model = kind.put_on(bare, adapter)
    seconds, peak = time.perf_counter() - start, read_and_reset_peak(CPU)
    left = sum(parameter.nbytes for parameter in model.parameters())
    return {
        "model": size,
        "resident with the model": loaded - before,
        "peak during surgery": peak - before,
        "resident after": resident() - before,
        "model after": left,
        "seconds": seconds,
        "blocks kept": kept,
    }


def main(words: list[str]) -> int:
    """Print a line per figure."""
    if not words:
        print(__doc__)
        return 2
    door.register()
    quiet_libraries()
    figures = measure(composed(f"model={words[0]}", *words[1:]))
    for name, value in figures.items():
        print(f"{name:24}" + (f"{value / 2**20:9.1f} MiB" if value > 2**20 else f"{value:9.2f}"))
    print(f"{'peak over model':24}{figures['peak during surgery'] / figures['model']:9.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
