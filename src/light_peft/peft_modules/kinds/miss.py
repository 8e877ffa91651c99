"""MiSS through HF peft (Kang & Yin, arXiv 2409.15371): shards of W0 share one increment.

* default: D [R, O]; each group of R consecutive inputs gets the same increment D^T, so x is summed over the groups.
* mini: D [R, M]; also each group of M consecutive outputs gets the same columns.
* bat: D [O / R, R, R]; the increment of each R x R shard of W0 is shard @ D + D.

A cut keeps this only if it takes whole groups, and a mask value on a column cannot be folded into a shared
increment. What cannot follow is refused at the start.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from peft import MissConfig
from peft.tuners.miss import MissLinear
from torch import nn
from transformers import PreTrainedModel

from light_peft.config import Config, PeftConfig
from light_peft.model import Backbone
from light_peft.peft_modules.hf import HfKind, Lay

INIT: dict[str, bool | Literal["bat", "mini"]] = {"default": True, "mini": "mini", "bat": "bat"}


class Miss(HfKind):
    """The MiSS kind."""

    settings = frozenset({"r", "dropout", "targets", "miss_init", "miss_mini_r"})
    can_prune = frozenset({"module"})
    layer_type = MissLinear

    def refusals(self, config: Config) -> Iterator[str]:
        """Yield dropout where it would not be computed."""
        if config.peft.miss_init == "bat" and config.peft.dropout:
            yield f"peft.dropout={config.peft.dropout:g}: peft.miss_init=bat has no dropout; set peft.dropout=0"

    def model_refusals(self, config: Config, model: PreTrainedModel, backbone: Backbone) -> Iterator[str]:
        """Yield targets whose widths or whose cuts do not keep the groups whole."""
        reasons = (*_wrong_widths(config.peft, model, backbone), *_broken_groups(config, backbone))
        yield from dict.fromkeys(reasons)

    def configure(self, model: PreTrainedModel, backbone: Backbone, config: PeftConfig) -> MissConfig:
        """Return the configuration for HF peft."""
        return MissConfig(
            r=config.r,
            mini_r=config.miss_mini_r,
            miss_dropout=config.dropout,
            init_weights=INIT[config.miss_init],
            target_modules=backbone.paths_of(config.targets),
            modules_to_save=list(backbone.head_modules),
        )

    def lays(self, config: Any, path: str) -> Mapping[str, Lay]:
        """Return how D lies; what is shared by all groups lies along nothing."""
        if config.init_weights == "bat":
            return {"miss_block": Lay(output=0, block=config.r)}
        return {"miss_block": Lay() if config.init_weights == "mini" else Lay(output=1)}


def _groups(config: PeftConfig) -> tuple[int, int]:
    """Return how many consecutive inputs and outputs make a group."""
    return config.r, {"default": 1, "mini": config.miss_mini_r, "bat": config.r}[config.miss_init]


def _wrong_widths(config: PeftConfig, model: PreTrainedModel, backbone: Backbone) -> Iterator[str]:
    inputs, outputs = _groups(config)
    for name in config.targets:
        for path in backbone.paths_of([name]):
            if not isinstance(linear := model.get_submodule(path), nn.Linear):
                yield f"peft.kind=miss: {name} of '{model.config.model_type}' is no plain Linear; take another kind"
                continue
            wide, narrow = linear.weight.shape
            if inputs > narrow or (config.miss_init == "bat" and narrow % inputs):
                yield f"peft.r={config.r}: {name} has {narrow} inputs; take a divisor of it"
            if wide % outputs:
                key = "miss_mini_r" if config.miss_init == "mini" else "r"
                yield f"peft.{key}={outputs}: {name} has {wide} outputs; take a divisor of it"


def _broken_groups(config: Config, backbone: Backbone) -> Iterator[str]:
    if config.prune.method == "none":
        return
    inputs, outputs = _groups(config.peft)
    names = {path: name for name in config.peft.targets for path in backbone.paths_of([name])}
    for site in backbone.sites:
        share = getattr(config.prune, site.kind)
        for port in site.ports:
            name, size = names.get(port.path), inputs if port is site.consumer else outputs
            if name is None:
                continue
            out = f"drop {name} from peft.targets"
            if port is site.consumer and config.prune.fold_masks and config.prune.criterion == "mask":
                yield f"prune.fold_masks=true: miss on {name} cannot follow; set prune.fold_masks=false or {out}"
            if share and port.size % size:
                yield (
                    f"prune.{site.kind}={share:g}: miss on {name} shares its increment among groups of {size} features,"
                    f" and a cut takes {port.size}; set prune.{site.kind}=0 or {out}"
                )


KIND = Miss()
