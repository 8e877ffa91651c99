"""OPT: decoders that reshape with the number of heads, pre-norm or (350m) post-norm."""

from torch import nn
from transformers import PretrainedConfig

from light_peft.model.layout import attn_site, ffn_site, keep_heads
from light_peft.model.site import Site


class Opt:
    """The layout of OPT; what lies around the blocks, such as 350m's `project_in`, is never cut."""

    model_types = ("opt",)
    head_modules = ("score",)

    def block(self, config: PretrainedConfig, layer: int) -> str:
        """Return the path of a transformer block."""
        return f"model.decoder.layers.{layer}"

    def max_tokens(self, config: PretrainedConfig) -> int:
        """Return the number of positions."""
        return int(config.max_position_embeddings)

    def projections(self, config: PretrainedConfig, layer: int) -> dict[str, tuple[str, ...]]:
        """Return the paths of each projection."""
        block = self.block(config, layer)
        return {
            "query": (f"{block}.self_attn.q_proj",),
            "key": (f"{block}.self_attn.k_proj",),
            "value": (f"{block}.self_attn.v_proj",),
            "attn_output": (f"{block}.self_attn.out_proj",),
            "intermediate": (f"{block}.fc1",),
            "output": (f"{block}.fc2",),
        }

    def sites(self, config: PretrainedConfig, layer: int) -> tuple[Site, Site]:
        """Return the attention site and the FFN site of a layer."""
        paths = self.projections(config, layer)
        return attn_site(config, layer, paths), ffn_site(layer, paths, config.ffn_dim)

    def adjust(self, model: nn.Module, site: Site, num_kept: int) -> None:
        """Set the number of heads that the attention module reshapes with, or replace it where none is left."""
        if site.kind == "attn":
            keep_heads(model, site, num_kept, counts=("num_heads",), kept=("out_proj",))


FAMILY = Opt()
