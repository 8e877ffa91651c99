"""What a family says of its model is true of the model; a new family inherits these tests."""

import pytest
from torch import nn

from light_peft.model import Site, describe
from light_peft.model.families import all_families
from model_cases import SIZES, TINY, tiny_model

families = pytest.mark.parametrize("family", sorted(TINY))


def test_every_family_is_tested() -> None:
    assert set(all_families()) == set(TINY)


@families
def test_sites_match_the_shapes(family: str) -> None:
    model = tiny_model(family)
    backbone = describe(model)
    assert backbone.num_layers == SIZES["num_hidden_layers"]
    assert [site.layer for site in backbone.sites_of("attn")] == [0, 1, 2]
    for site in backbone.sites:
        for port in site.producers:
            assert linear(model, port.path).out_features == site.count * port.size
        assert linear(model, site.consumer.path).in_features == site.count * site.consumer.size


@families
def test_sites_and_projections_name_the_same_linears(family: str) -> None:
    backbone = describe(tiny_model(family))
    from_sites = {port.path for site in backbone.sites for port in site.ports}
    from_projections = {path for layer in backbone.projections for path in layer.values()}
    assert from_sites == from_projections
    assert all(path.startswith(backbone.blocks[layer]) for layer, paths in numbered(backbone.sites) for path in paths)


@families
def test_the_head_is_outside_the_blocks(family: str) -> None:
    model = tiny_model(family)
    backbone = describe(model)
    assert backbone.head_modules
    for name, _ in model.named_parameters():
        in_head = bool(set(name.split(".")) & set(backbone.head_modules))
        assert not (in_head and any(name.startswith(block) for block in backbone.blocks))


def linear(model: nn.Module, path: str) -> nn.Linear:
    found = model.get_submodule(path)
    assert isinstance(found, nn.Linear)
    return found


def numbered(sites: tuple[Site, ...]) -> list[tuple[int, list[str]]]:
    return [(site.layer, [port.path for port in site.ports]) for site in sites]
