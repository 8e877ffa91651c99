"""Masks: the same arithmetic as scaling heads and neurons, gradients included, and nothing left behind."""

import pytest
import torch
from transformers.pytorch_utils import Conv1D

from light_peft.model import describe
from light_peft.pruning.masks import GroupProduct, MaskSet, masked, sum_of_products_I
from model_cases import TINY, logits, tiny_batch, tiny_model

families = pytest.mark.parametrize("family", sorted(TINY))


@families
def test_masks_of_one_change_nothing_and_leave_nothing(family: str) -> None:
    model = tiny_model(family)
    before, names = logits(model, tiny_batch()), dict(model.named_parameters()).keys()
    with masked(model, describe(model).sites) as masks:
        assert [len(mask) for mask in masks.of("attn")] == [getattr(model.config, "num_key_value_heads", 4)] * 3
        assert [len(mask) for mask in masks.of("ffn")] == [40] * 3
        assert torch.equal(logits(model, tiny_batch()), before)
    assert dict(model.named_parameters()).keys() == names
    assert torch.equal(logits(model, tiny_batch()), before)


@families
def test_a_mask_is_a_factor_on_the_consumers_columns(family: str) -> None:
    """Scaling the consumer's columns by hand is the same function, and the chain rule gives the gradient."""
    model = tiny_model(family)
    site = describe(model).sites_of("attn")[1]
    consumer = model.get_submodule(site.consumer.path)
    values = torch.tensor([0.0, 0.5, 2.0, -1.0])[-site.count :]
    with masked(model, [site]) as masks:
        masks.masks[site].data.copy_(values)
        model(**tiny_batch()).loss.backward()
        gradient, from_mask = masks.masks[site].grad, logits(model, tiny_batch())
    weight = consumer.get_parameter("weight")
    original = weight.detach().clone()
    axis = 0 if isinstance(consumer, Conv1D) else 1
    columns = values.repeat_interleave(site.consumer.size).unsqueeze(1 - axis)
    weight.data = original * columns
    torch.testing.assert_close(logits(model, tiny_batch()), from_mask, atol=5e-6, rtol=2e-6)
    model.zero_grad()
    model(**tiny_batch()).loss.backward()
    assert weight.grad is not None
    by_column = (weight.grad * original).sum(dim=1 - axis).unflatten(0, (site.count, -1)).sum(dim=1)
    torch.testing.assert_close(gradient, by_column, atol=1e-6, rtol=1e-4)


def test_l1_is_a_sum_over_all_layers() -> None:
    model = tiny_model("bert")
    with masked(model, describe(model).sites) as masks:
        masks.of("attn")[0].data[0] = -3.0
        assert masks.l1("attn").item() == pytest.approx(3 * 4 - 1 + 3)
        assert masks.l1("ffn").item() == pytest.approx(3 * 40)


def test_a_consumer_is_masked_once() -> None:
    model = tiny_model("bert")
    sites = describe(model).sites
    MaskSet(model, sites)
    with pytest.raises(AssertionError, match="masked already"):
        MaskSet(model, sites)


def test_the_input_keeps_its_dtype() -> None:
    model = tiny_model("bert")
    with masked(model, describe(model).sites), torch.autocast("cpu", torch.bfloat16):
        model(**tiny_batch()).loss.backward()


@families
def test_a_watched_mask_has_the_gradient_of_the_product_and_the_model_its_output(family: str) -> None:
    found: dict[str, tuple[torch.Tensor, list[torch.Tensor]]] = {}
    for use in ("learned", "watched"):
        model = tiny_model(family)
        with masked(model, describe(model).sites, use) as masks:
            output = model(**tiny_batch())
            output.loss.backward()
            found[use] = (output.logits.detach(), [masks.gradient(site) for site in masks.masks])
    assert torch.equal(found["watched"][0], found["learned"][0])
    torch.testing.assert_close(found["watched"][1], found["learned"][1], rtol=1e-4, atol=1e-6)


def test_a_mask_that_is_not_watched_costs_nothing() -> None:
    model = tiny_model("bert")
    with masked(model, describe(model).sites, "watched") as masks:
        masks.is_watching = False
        model(**tiny_batch()).loss.backward()
        assert all(mask.grad is None for mask in masks.masks.values())
        masks.is_watching = True
        model(**tiny_batch()).loss.backward()
        assert all(mask.grad is not None for mask in masks.masks.values())


def test_a_watched_mask_that_is_set_to_zero_multiplies() -> None:
    model = tiny_model("bert")
    sites = describe(model).sites
    kept = dict.fromkeys(sites, (0,))
    found = []
    for use in ("learned", "watched"):
        with masked(model, sites, use) as masks:
            masks.zero_except(kept, keep_values=False)
            found.append(logits(model, tiny_batch()))
    assert torch.equal(*found)
    assert not torch.allclose(found[0], logits(model, tiny_batch()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_product_has_the_gradients_of_a_product(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(2, 3, 8, generator=generator).to(dtype) for _ in range(2))
    mask = torch.tensor([0.5, 0.0, -2.0, 1.0])
    x, mask = x.requires_grad_(), mask.requires_grad_()
    (GroupProduct.apply(x, mask, False) * weight).sum().backward()
    factors = mask.detach().repeat_interleave(2)
    torch.testing.assert_close(x.grad, (weight.float() * factors).to(dtype))
    assert mask.grad is not None
    by_hand = (x.detach().double() * weight.double()).sum(dim=(0, 1)).view(4, 2).sum(dim=1).float()
    torch.testing.assert_close(mask.grad, by_hand)


def test_a_sum_of_products_goes_by_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("light_peft.pruning.masks.CPU_CHUNK_ENTRIES", 12)
    one, other = torch.randn(2, 5, 3), torch.randn(2, 5, 3)  # chunks of 4 rows, the last smaller
    torch.testing.assert_close(sum_of_products_I(one, other), (one * other).sum(dim=(0, 1)))
