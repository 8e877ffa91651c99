"""The foundation model as the method sees it: sites, projections, head, blocks."""

from dataclasses import dataclass

from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from light_peft.model.families import all_families
from light_peft.model.family import SPAN_HEAD, Family
from light_peft.model.site import Kind, Site


@dataclass(frozen=True)
class Backbone:
    """Where things are in one model; it holds names and sizes, never weights.

    Attributes:
        family: The family that gave the names.
        sites: All sites, layer by layer, attention before FFN.
        projections: For each layer, the paths of each projection by its standard name. A gated FFN has two
            intermediate ones; a fused projection answers to query, key and value with the same path.
        blocks: Path of each transformer block.
        head_modules: Names of the head's modules that this model has.
    """

    family: Family
    sites: tuple[Site, ...]
    projections: tuple[dict[str, tuple[str, ...]], ...]
    blocks: tuple[str, ...]
    head_modules: tuple[str, ...]

    @property
    def num_layers(self) -> int:
        """Number of transformer blocks."""
        return len(self.blocks)

    def sites_of(self, kind: Kind) -> tuple[Site, ...]:
        """Return the sites of one kind, in the order of the layers."""
        return tuple(site for site in self.sites if site.kind == kind)

    def layer_of(self, path: str) -> int:
        """Return the number of the block that the module at `path` lies in; -1 where it lies below all of them."""
        return next((layer for layer, block in enumerate(self.blocks) if f"{path}.".startswith(f"{block}.")), -1)

    def paths_of(self, targets: list[str]) -> list[str]:
        """Return the distinct paths of the named projections in every layer, in the model's order.

        Where query, key and value are one Linear, each of the three names means the whole of it.

        Raises:
            ValueError: If a target is no projection of this model.
        """
        known = list(self.projections[0])
        unknown = [target for target in targets if target not in known]
        if unknown:
            raise ValueError(f"peft.targets: unknown projection {unknown}; this model has {known}")
        named = (path for layer in self.projections for name in known if name in targets for path in layer[name])
        return list(dict.fromkeys(named))


def family_of(config: PretrainedConfig) -> Family:
    """Return the family of an architecture.

    Raises:
        ValueError: If it is not known.
    """
    families = all_families()
    if config.model_type not in families:
        raise ValueError(f"model: architecture '{config.model_type}' is not supported; known: {sorted(families)}")
    return families[config.model_type]


def describe(model: PreTrainedModel) -> Backbone:
    """Return the backbone of a classifier, a span model or a causal language model of a known family.

    Raises:
        ValueError: If the family of `model.config.model_type` is not known.
    """
    config = model.config
    family = family_of(config).inside(model.base_model_prefix)
    layers = range(config.num_hidden_layers)
    names = {name.rsplit(".", 1)[-1] for name, _ in model.named_modules()}
    return Backbone(
        family=family,
        sites=tuple(site for layer in layers for site in family.sites(config, layer)),
        projections=tuple(family.projections(config, layer) for layer in layers),
        blocks=tuple(family.block(config, layer) for layer in layers),
        head_modules=tuple(name for name in (*family.head_modules, SPAN_HEAD) if name in names),
    )


def check_length(max_length: int, backbone: Backbone, model: PreTrainedModel) -> None:
    """Hold the length of the examples against the model's positions.

    Raises:
        ValueError: If the model has too few.
    """
    limit = backbone.family.max_tokens(model.config)
    if max_length > limit:
        raise ValueError(
            f"data.max_length={max_length}: this model takes at most {limit} tokens; set it to that or less"
        )


def count_block_parameters(backbone: Backbone, model: nn.Module) -> int:
    """Return the parameters of the transformer blocks of a model that carries no PEFT."""
    blocks = (model.get_submodule(path) for path in backbone.blocks)
    return sum(parameter.numel() for block in blocks for parameter in block.parameters())


def count_parameters(model: nn.Module, head_modules: tuple[str, ...]) -> tuple[int, int]:
    """Return all parameters in use and the trainable ones outside the head.

    The untrained copy that HF peft keeps of a head it trains is not in use.
    """
    total = trainable = 0
    for name, parameter in model.named_parameters():
        parts = name.split(".")
        if "original_module" in parts:
            continue
        total += parameter.numel()
        if parameter.requires_grad and not set(head_modules) & set(parts):
            trainable += parameter.numel()
    return total, trainable
