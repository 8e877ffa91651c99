"""What the package must know of a model family, and nothing else may assume."""

from typing import Protocol

from torch import nn
from transformers import PretrainedConfig

from light_peft.model.site import Site


class Family(Protocol):
    """The names and sizes of one architecture; every path is relative to the task model."""

    @property
    def model_types(self) -> tuple[str, ...]:
        """Values of `config.model_type` this family serves."""

    @property
    def head_modules(self) -> tuple[str, ...]:
        """Names of the modules that are the task head: trained in full, never cut."""

    def block(self, config: PretrainedConfig, layer: int) -> str:
        """Return the path of a transformer block."""

    def max_tokens(self, config: PretrainedConfig) -> int:
        """Return the tokens that an example may have, for the positions there are."""

    def projections(self, config: PretrainedConfig, layer: int) -> dict[str, tuple[str, ...]]:
        """Return the paths of each projection: query key value attn_output intermediate output."""

    def sites(self, config: PretrainedConfig, layer: int) -> tuple[Site, Site]:
        """Return the attention site and the FFN site of a layer."""

    def adjust(self, model: nn.Module, site: Site, num_kept: int) -> None:
        """Set what the model code reads besides the shapes, after `num_kept` groups are left."""
