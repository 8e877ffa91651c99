"""Each criterion against its definition, written out on a tiny model."""

import pytest
import torch
from torch import nn

from light_peft.config import EstimateConfig, PruneConfig
from light_peft.model import Backbone, Site
from light_peft.peft_modules import peft_kind
from light_peft.pruning.criteria import Subject, criterion_names, criterion_of
from light_peft.pruning.estimate import ImportanceRecorder, mask_groups, mask_penalty
from light_peft.pruning.masks import masked
from light_peft.pruning.scores import Scores
from model_cases import tiny_batch, tiny_model, with_random_lora

LORA = peft_kind("lora")
CONFIG = EstimateConfig(window=1.0)
BATCHES = [tiny_batch(seed=1), tiny_batch(seed=2)]


def measured(criterion: str, seed: int = 5, **prune: str) -> tuple[Scores, nn.Module, Backbone]:
    """Return the scores of two steps that move nothing, the model and its backbone."""
    model, backbone = with_random_lora(tiny_model("bert"))
    bare, kind = LORA.bare(model), criterion_of(criterion)
    with masked(bare, backbone.sites, kind.mask_use) as masks:
        config = PruneConfig(method="light_peft", criterion=criterion, **prune)
        subject = Subject(bare, backbone, LORA.views(model), masks, config, seed)
        recorder = ImportanceRecorder(subject, kind(subject), CONFIG, len(BATCHES))
        with recorder.watching(model):
            for step, batch in enumerate(BATCHES):
                model.zero_grad()
                model(**batch).loss.backward()
                recorder.after_backward(step)
                recorder.after_step(step)
        return recorder.scores(), model, backbone


def group_scores(scores: Scores, site: Site) -> torch.Tensor:
    return (scores.attn if site.kind == "attn" else scores.ffn)[site.layer]


def mask_gradients() -> list[dict[Site, torch.Tensor]]:
    """The gradient of each batch's loss by each mask at 1, by plain autograd."""
    model, backbone = with_random_lora(tiny_model("bert"))
    found = []
    with masked(LORA.bare(model), backbone.sites) as masks:
        for batch in BATCHES:
            gradients = torch.autograd.grad(model(**batch).loss, list(masks.masks.values()))
            found.append(dict(zip(masks.masks, gradients, strict=True)))
    return found


def test_the_criteria_are_the_documented_ones() -> None:
    assert criterion_names() == sorted(["mask", "taylor", "fisher", "magnitude", "lora_gradient", "random", "layer"])


@pytest.mark.parametrize("criterion", criterion_names())
def test_every_criterion_scores_every_group_and_leaves_the_model_clean(criterion: str) -> None:
    scores, model, backbone = measured(criterion)
    for site in backbone.sites:
        assert group_scores(scores, site).shape == (site.count,)
    assert all(torch.isfinite(vector).all() for vector in (*scores.attn, *scores.ffn))
    assert not any("group_mask" in name for name, _ in model.named_parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("criterion", criterion_names())
def test_peft_is_scored_alike_whatever_the_criterion(criterion: str) -> None:
    scores, _, _ = measured(criterion)
    expected, _, _ = measured("mask")
    assert scores.modules == pytest.approx(expected.modules, rel=1e-5)
    for name, ranks in scores.ranks.items():
        torch.testing.assert_close(ranks, expected.ranks[name], rtol=1e-3, atol=1e-6)


def test_taylor_and_fisher_are_means_over_the_steps_of_the_mask_gradients() -> None:
    steps = mask_gradients()
    taylor, _, backbone = measured("taylor")
    fisher, _, _ = measured("fisher")
    for site in backbone.sites:
        expected = (steps[0][site].abs() + steps[1][site].abs()) / 2
        torch.testing.assert_close(group_scores(taylor, site), expected, rtol=1e-4, atol=1e-7)
        expected = (steps[0][site].square() + steps[1][site].square()) / 2
        torch.testing.assert_close(group_scores(fisher, site), expected, rtol=1e-4, atol=1e-9)


def test_magnitude_is_the_norm_over_all_matrices_of_a_group() -> None:
    scores, _, backbone = measured("magnitude")
    model = tiny_model("bert")
    for site in backbone.sites:
        for group in (0, site.count - 1):
            squares = 0.0
            for port in site.ports:
                weight = model.get_parameter(f"{port.path}.weight").detach()
                features = slice(group * port.size, (group + 1) * port.size)
                part = weight[:, features] if port is site.consumer else weight[features]
                squares += float(part.square().sum())
            assert float(group_scores(scores, site)[group]) == pytest.approx(squares**0.5, rel=1e-5)


def test_lora_gradient_is_the_published_estimate() -> None:
    scores, model, backbone = measured("lora_gradient")
    views, expected = LORA.views(model), [torch.zeros(site.count) for site in backbone.sites]
    for batch in BATCHES:
        model.zero_grad()
        model(**batch).loss.backward()
        for index, site in enumerate(backbone.sites):
            for port in site.ports:
                a, b = views[port.path].factors()
                assert a.grad is not None
                assert b.grad is not None
                layer = LORA.bare(model).get_submodule(port.path)
                weight = layer.get_submodule("base_layer").get_parameter("weight") + 6.0 / 4 * b @ a
                gradient = b.grad @ a + b @ a.grad - b.grad @ a.grad
                saliency = (weight * gradient).square().detach()
                if port is site.consumer:
                    saliency = saliency.T
                expected[index] += saliency.reshape(site.count, -1).sum(dim=1) / len(BATCHES)
    for index, site in enumerate(backbone.sites):
        torch.testing.assert_close(group_scores(scores, site), expected[index], rtol=1e-4, atol=1e-9)


def test_lora_gradient_needs_lora_on_every_sublayer() -> None:
    _, model, backbone = measured("random")
    views = {path: view for path, view in LORA.views(model).items() if "attention" in path}
    refusals = list(criterion_of("lora_gradient").refusals(views, backbone))
    assert len(refusals) == 1
    assert "prune.criterion=lora_gradient: no LoRA module on the ffn sublayers" in refusals[0]


def test_random_follows_the_seed_alone() -> None:
    one, _, _ = measured("random")
    again, _, _ = measured("random")
    other, _, _ = measured("random", seed=6)
    assert all(torch.equal(a, b) for a, b in zip(one.ffn, again.ffn, strict=True))
    assert not torch.equal(one.ffn[0], other.ffn[0])


def test_a_layer_scores_by_how_far_it_turns_its_input() -> None:
    scores, model, backbone = measured("layer")
    expected = torch.zeros(backbone.num_layers)
    for batch in BATCHES:
        states = model(**batch, output_hidden_states=True).hidden_states
        real = batch["attention_mask"].bool()
        for layer in range(backbone.num_layers):
            cosine = nn.functional.cosine_similarity(states[layer], states[layer + 1], dim=-1)
            expected[layer] += (1 - cosine[real].mean().detach()) / len(BATCHES)
    for layer in range(backbone.num_layers):
        torch.testing.assert_close(scores.attn[layer], expected[layer].expand(4), rtol=1e-4, atol=1e-6)
        assert torch.equal(scores.ffn[layer].unique(), scores.attn[layer].unique())


def test_only_learned_masks_are_trained_and_penalised() -> None:
    model = tiny_model("bert")
    _, backbone = with_random_lora(model)
    for use, groups in (("learned", 2), ("watched", 0), ("unused", 0)):
        with masked(model, backbone.sites, use) as masks:
            assert len(mask_groups(masks, 1e-3, CONFIG)) == groups
            assert (mask_penalty(masks, CONFIG) is not None) == bool(groups)
