"""IA3 through HF peft (Liu et al., arXiv 2205.05638): one learned factor per output feature.

On the FFN's output projection the factors multiply its input instead, so there they lie on the neurons. A mask on
that input is a factor too: folded into the columns of W0 it must not go into IA3's own vector again.
"""

from collections.abc import Mapping
from typing import Any

from peft import IA3Config
from peft.tuners.ia3 import Linear as Ia3Linear
from transformers import PreTrainedModel

from light_peft.config import PeftConfig
from light_peft.model import Backbone
from light_peft.peft_modules.hf import HfKind, Lay

OF_OUTPUT = {"ia3_l": Lay(output=0)}
OF_INPUT = {"ia3_l": Lay(input=True, scaled=False)}


class Ia3(HfKind):
    """The IA3 kind."""

    settings = frozenset({"targets"})
    can_prune = frozenset({"module"})
    layer_type = Ia3Linear

    def configure(self, model: PreTrainedModel, backbone: Backbone, config: PeftConfig) -> IA3Config:
        """Return the configuration for HF peft."""
        targets = backbone.paths_of(config.targets)
        consumers = {site.consumer.path for site in backbone.sites_of("ffn")}
        return IA3Config(
            target_modules=targets,
            feedforward_modules=[path for path in targets if path in consumers],
            modules_to_save=list(backbone.head_modules),
        )

    def lays(self, config: Any, path: str) -> Mapping[str, Lay]:
        """Return how the vector lies: [O, 1], or [1, I] on the FFN's output projection."""
        return OF_INPUT if path in config.feedforward_modules else OF_OUTPUT

    def describe_cut(self, config: IA3Config, ranks: dict[str, int]) -> IA3Config:
        """Return the configuration of what is left."""
        described: IA3Config = super().describe_cut(config, ranks)
        described.feedforward_modules = [path for path in ranks if path in (config.feedforward_modules or ())]
        return described


KIND = Ia3()
