"""What estimation gathers: windows, padding, accumulation, dropout."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from light_peft.config import EstimateConfig, PruneConfig
from light_peft.model import describe
from light_peft.model.checkpointing import recomputing
from light_peft.peft_modules import peft_kind
from light_peft.pruning.criteria import Subject, criterion_of
from light_peft.pruning.estimate import ImportanceRecorder
from light_peft.pruning.masks import MaskSet, masked
from light_peft.pruning.moments import ConsumerMoments
from light_peft.pruning.scores import Scores
from model_cases import tiny_batch, tiny_model, with_random_lora

LORA = peft_kind("lora")
Batch = dict[str, torch.Tensor]


def gather(
    steps: list[list[Batch]],
    config: EstimateConfig,
    *,
    dropout: float = 0.0,
    train: bool = False,
    family: str = "bert",
    criterion: str = "mask",
    again: bool = False,
) -> Scores:
    """Return the scores after these steps, each a list of micro-batches, without moving any weight."""
    torch.manual_seed(0)
    model, backbone = with_random_lora(tiny_model(family), dropout)
    for module in model.modules():
        if isinstance(module, nn.Dropout) and module.p != dropout:
            module.p = 0.0
    model.train(train)
    bare, use = LORA.bare(model), criterion_of(criterion).mask_use
    with (
        masked(bare, backbone.sites, use) as masks,
        recomputing(bare, again),
        recorder_of(model, masks, config, len(steps), criterion) as recorder,
    ):
        for step, micro_batches in enumerate(steps):
            model.zero_grad()
            for batch in micro_batches:
                (model(**batch).loss * len(batch["labels"]) / sum(len(b["labels"]) for b in micro_batches)).backward()
            recorder.after_backward(step)
            recorder.after_step(step)
        return recorder.scores()


@contextmanager
def recorder_of(
    model: nn.Module, masks: MaskSet, config: EstimateConfig, steps: int, criterion: str = "mask"
) -> Iterator[ImportanceRecorder]:
    """A recorder that watches `model`, whose backbone is the one of the masks."""
    bare, prune = LORA.bare(model), PruneConfig(method="light_peft", criterion=criterion)
    subject = Subject(bare, describe(bare), LORA.views(model), masks, prune, seed=5)
    recorder = ImportanceRecorder(subject, criterion_of(criterion)(subject), config, steps)
    with recorder.watching(model):
        yield recorder


def halves(batch: Batch) -> list[Batch]:
    return [{name: value[:2] for name, value in batch.items()}, {name: value[2:] for name, value in batch.items()}]


def assert_same(one: Scores, other: Scores) -> None:
    assert one.modules == pytest.approx(other.modules, rel=1e-5)
    for name, ranks in one.ranks.items():
        torch.testing.assert_close(ranks, other.ranks[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("criterion", ["taylor", "fisher", "mask", "layer"])
@pytest.mark.parametrize("family", ["bert", "deberta-v2 shared", "llama", "opt"])
def test_recomputed_activations_give_the_same_scores(family: str, criterion: str) -> None:
    """Dropout included: each is seen once, in the forward pass."""
    steps = [[tiny_batch(seed=1)], [tiny_batch(seed=2)]]
    kept, computed = (
        gather(steps, EstimateConfig(), dropout=0.2, train=True, family=family, criterion=criterion, again=again)
        for again in (False, True)
    )
    assert_same(computed, kept)
    torch.testing.assert_close([*computed.attn, *computed.ffn], [*kept.attn, *kept.ffn], rtol=1e-4, atol=1e-7)


def test_what_is_computed_again_is_not_seen_again() -> None:
    model, backbone = with_random_lora(tiny_model("bert"))
    bare, batch = LORA.bare(model.train()), tiny_batch()
    tokens = int(batch["attention_mask"].sum())
    with masked(bare, backbone.sites, "watched") as masks, recomputing(bare, True):
        subject = Subject(bare, backbone, LORA.views(model), masks, PruneConfig(method="light_peft"), seed=5)
        moments = ConsumerMoments(subject, second=False, counts=lambda: True)
        with recorder_of(model, masks, EstimateConfig(window=1.0), 1, "taylor") as recorder, moments.watching(model):
            model(**batch).loss.backward()
            assert recorder._token_count.tolist() == [tokens] * 18
    assert [int(found.count) for found in moments.moments.values()] == [tokens] * 6


@pytest.mark.parametrize("cuts", [[2, 3], [1, 2, 2], [1, 1, 1, 1, 1]])
@pytest.mark.parametrize("criterion", ["taylor", "fisher"])
def test_uneven_parts_of_a_batch_give_its_scores(criterion: str, cuts: list[int]) -> None:
    batch = tiny_batch()
    parts = [
        dict(zip(batch, columns, strict=True))
        for columns in zip(*(value.split(cuts) for value in batch.values()), strict=True)
    ]
    whole, parted = (gather([step], EstimateConfig(), criterion=criterion) for step in ([batch], parts))
    assert_same(parted, whole)
    torch.testing.assert_close([*parted.attn, *parted.ffn], [*whole.attn, *whole.ffn], rtol=1e-4, atol=1e-7)


def test_a_step_before_the_window_is_one_of_training() -> None:
    """Nothing is hooked in but the masks, which do nothing and keep nothing."""
    model, backbone = with_random_lora(tiny_model("bert"))
    plain = logits_and_kept(model)
    with masked(LORA.bare(model), backbone.sites, "watched") as masks:
        with recorder_of(model, masks, EstimateConfig(window=0.5), 2, "taylor") as recorder:
            assert not any(module._forward_hooks for module in model.modules())
            assert logits_and_kept(model) == plain
            assert all(mask.grad is None for mask in masks.masks.values())
            recorder.after_backward(0)
            recorder.after_step(0)
            assert any(module._forward_hooks for module in model.modules())
            logits_and_kept(model)
            recorder.after_backward(1)
            recorder.after_step(1)
        assert not any(module._forward_hooks for module in model.modules())
        assert len(recorder.scores().modules) == 18


def logits_and_kept(model: nn.Module) -> tuple[float, int]:
    """Return the loss, and how many tensors are kept for its backward pass, which is run."""
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        loss = model(**tiny_batch()).loss
    loss.backward()
    return float(loss.detach()), len(kept)


def test_accumulated_micro_batches_give_the_scores_of_the_whole_batch() -> None:
    batch = tiny_batch()
    assert_same(gather([halves(batch)], EstimateConfig()), gather([[batch]], EstimateConfig()))


@pytest.mark.parametrize("family", ["deberta-v2 shared", "gpt2", "llama", "opt"])
def test_every_family_gives_the_ratio_of_its_tokens(family: str) -> None:
    """OPT flattens the tokens before its FFN; DeBERTa's relative positions, in the same Linears, do not count."""
    batch = tiny_batch()
    whole = gather([[batch]], EstimateConfig(), family=family)
    assert all(ratio > 0 for ratio in whole.modules.values())
    halved = gather([halves(batch)], EstimateConfig(), family=family)
    assert halved.modules == pytest.approx(whole.modules, rel=1e-4)


def test_padding_changes_nothing() -> None:
    batch = tiny_batch()
    wider = {
        "input_ids": nn.functional.pad(batch["input_ids"], (0, 7)),
        "attention_mask": nn.functional.pad(batch["attention_mask"], (0, 7)),
        "labels": batch["labels"],
    }
    assert_same(gather([[wider]], EstimateConfig()), gather([[batch]], EstimateConfig()))


def test_only_the_window_counts_and_its_steps_weigh_the_same() -> None:
    first, second, third = (tiny_batch(rows, seed=rows) for rows in (3, 4, 9))
    two = gather([[first], [second], [third]], EstimateConfig(window=0.5))
    alone = [gather([[batch]], EstimateConfig(window=1.0)) for batch in (second, third)]
    for name, value in two.modules.items():
        assert value == pytest.approx(sum(scores.modules[name] for scores in alone) / 2, rel=1e-6)


def test_the_ratio_is_the_one_of_the_definition() -> None:
    batch = tiny_batch()
    scores = gather([[batch]], EstimateConfig(window=1.0))
    model, _ = with_random_lora(tiny_model("bert"))
    path = "bert.encoder.layer.1.intermediate.dense"
    seen: dict[str, torch.Tensor] = {}
    layer = LORA.bare(model).get_submodule(path)
    layer.register_forward_hook(lambda module, inputs, output: seen.update(x=inputs[0], y=output))
    model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    a_RI, b_OR = LORA.views(model)[path].factors()
    increment = seen["x"] @ a_RI.T @ b_OR.T * (6.0 / 4)
    ratio = increment.norm(dim=-1) / (seen["y"] - increment).norm(dim=-1)
    expected = ratio[batch["attention_mask"].bool()].mean()
    assert scores.modules[path] == pytest.approx(float(expected), rel=1e-5)


def test_the_ratio_with_and_without_dropout() -> None:
    steps = [[tiny_batch()]]
    plain = gather(steps, EstimateConfig(window=1.0))
    without = gather(steps, EstimateConfig(window=1.0, ratio_dropout=False), dropout=0.0, train=True)
    dropped = gather(steps, EstimateConfig(window=1.0, ratio_dropout=True), dropout=0.5, train=True)
    first = next(iter(plain.modules))
    assert without.modules == pytest.approx(plain.modules, rel=1e-5)
    assert dropped.modules[first] != pytest.approx(plain.modules[first], rel=1e-3)


def test_hooks_are_gone_afterwards_and_evaluation_is_not_counted() -> None:
    model, backbone = with_random_lora(tiny_model("bert"))
    with masked(LORA.bare(model), backbone.sites) as masks:
        config = EstimateConfig(window=1.0)
        with recorder_of(model, masks, config, 1) as recorder, torch.no_grad():
            model(**tiny_batch())
    assert not recorder._token_count.any()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
