"""What the package must know of a model family, and nothing else may assume."""

import copy
from typing import ClassVar

from torch import nn
from transformers import PretrainedConfig

from light_peft.model.layout import Paths, attn_site, ffn_site, keep_heads
from light_peft.model.site import Site

SPAN_HEAD = "qa_outputs"
"""Name of the head that finds spans, in every family."""


class Family:
    """The names and sizes of one architecture; every path is relative to the task model.

    A family gives the names; where its layers are not plain ones it also overrides what follows from them.

    Attributes:
        model_types: Values of `config.model_type` this family serves.
        decoder: Whether it reads from left to right and can have a language-model head.
        head_modules: Names of the modules that are the head for a class: trained in full, never cut.
        block_path: Path of a transformer block, with `{layer}` and `{model_type}` for what changes.
        names: The paths inside a block of each projection: query key value attn_output intermediate output.
        head_counts: Attributes of the attention module that hold its number of heads.
        kept_without_heads: Submodules of the attention module that stay when it has lost every head.
    """

    model_types: ClassVar[tuple[str, ...]]
    decoder: ClassVar[bool] = False
    head_modules: ClassVar[tuple[str, ...]] = ("score",)
    block_path: str
    names: ClassVar[Paths]
    head_counts: ClassVar[tuple[str, ...]] = ()
    kept_without_heads: ClassVar[tuple[str, ...]] = ()

    def block(self, config: PretrainedConfig, layer: int) -> str:
        """Return the path of a transformer block."""
        return self.block_path.format(layer=layer, model_type=config.model_type)

    def inside(self, base: str) -> "Family":
        """Return the family with the paths of a model that holds the backbone under the name `base`."""
        usual, _, rest = self.block_path.partition(".")
        if usual in (base, "{model_type}"):
            return self
        moved = copy.copy(self)
        moved.block_path = f"{base}.{rest}"
        return moved

    def max_tokens(self, config: PretrainedConfig) -> int:
        """Return the tokens that an example may have, for the positions there are."""
        return int(config.max_position_embeddings)

    def num_neurons(self, config: PretrainedConfig) -> int:
        """Return the width of the FFN."""
        return int(config.intermediate_size)

    def projections(self, config: PretrainedConfig, layer: int) -> dict[str, tuple[str, ...]]:
        """Return the paths of each projection by its standard name."""
        block = self.block(config, layer)
        return {name: tuple(f"{block}.{path}" for path in paths) for name, paths in self.names.items()}

    def attention(self, config: PretrainedConfig, layer: int) -> Site:
        """Return the attention site of a layer."""
        return attn_site(config, layer, self.projections(config, layer))

    def sites(self, config: PretrainedConfig, layer: int) -> tuple[Site, Site]:
        """Return the attention site and the FFN site of a layer."""
        ffn = ffn_site(layer, self.projections(config, layer), self.num_neurons(config))
        return self.attention(config, layer), ffn

    def adjust(self, model: nn.Module, site: Site, num_kept: int) -> None:
        """Set what the model code reads besides the shapes, after `num_kept` groups are left."""
        if site.kind == "attn":
            keep_heads(model, site, num_kept, counts=self.head_counts, kept=self.kept_without_heads)
