import os
from collections.abc import Sequence
from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertForSequenceClassification

from light_peft import meter
from light_peft.meter import (
    CPU_ATTENTION,
    STEPS_COUNTED,
    Meter,
    PhaseCost,
    count_step,
    counted_apart,
    part,
    settle_flops,
)

SHAPES = [(8, 40), (8, 32), (8, 24), (8, 16), (8, 16), (8, 8), (3, 8)]
WIDTH, INNER, LAYERS, CLASSES = 32, 64, 2, 2


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that stands still but for `clock.now += ...`."""
    state = SimpleNamespace(now=100.0)
    monkeypatch.setattr(meter, "time", SimpleNamespace(perf_counter=lambda: state.now))
    return state


def on_cpu() -> Meter:
    return Meter(torch.device("cpu"))


def test_a_phase_inside_another_stops_the_outer_clock(clock: SimpleNamespace) -> None:
    costs = on_cpu()
    clock.now += 1000
    with costs.phase("train"):
        clock.now += 1
        with costs.phase("evaluate"):
            clock.now += 10
        clock.now += 2
        with costs.phase("evaluate"):
            clock.now += 20
        clock.now += 4
    clock.now += 1000
    with costs.phase("train"):
        clock.now += 100
    assert {name: cost.seconds for name, cost in costs.phases.items()} == {"train": 107, "evaluate": 30}
    assert costs.totals()["seconds"] == 137


def test_a_phase_that_fails_is_charged(clock: SimpleNamespace) -> None:
    costs = on_cpu()

    def fail() -> None:
        with costs.phase("train"), costs.phase("evaluate"):
            clock.now += 3
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with costs.phase("save"):
        clock.now += 1
    assert {name: cost.seconds for name, cost in costs.phases.items()} == {"train": 0, "evaluate": 3, "save": 1}


def test_what_does_not_apply_is_left_out() -> None:
    assert PhaseCost(seconds=1.0).to_json() == {"seconds": 1.0, "peak_memory_bytes": 0}
    cost = PhaseCost(1.0, steps=2, examples=3, tokens=4, flops=5, shapes=[(1, 1)], counted=[(1, 1, 1)])
    assert list(cost.to_json()) == ["seconds", "steps", "examples", "tokens", "flops", "peak_memory_bytes"]


def test_nothing_ran() -> None:
    totals = on_cpu().totals()
    assert (totals["seconds"], totals["peak_memory_bytes"]) == (0, 0)
    assert (totals["memory_at_start_bytes"] > 0) == meter.STATUS.exists()


@pytest.mark.skipif(not meter.STATUS.exists(), reason="the system keeps one peak per process")
def test_memory_taken_inside_a_phase_is_charged_to_it() -> None:
    costs, size = on_cpu(), 200 * 2**20
    with costs.phase("small"):
        pass
    with costs.phase("large"):
        torch.ones(size // 4)
    small, large = (costs.phases[name].peak_memory_bytes for name in ("small", "large"))
    assert costs.totals()["peak_memory_bytes"] == max(small, large)
    if os.access(meter.CLEAR_REFS, os.W_OK):
        assert size * 0.9 < large - small < size * 1.5
        with costs.phase("afterwards"):
            pass
        assert costs.phases["afterwards"].peak_memory_bytes < large - size * 0.9


def tiny_bert(*, attention: str = "sdpa", dropout: float = 0.0) -> BertForSequenceClassification:
    sizes = {"hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": 4}
    drop = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout, "num_labels": CLASSES}
    config = BertConfig(vocab_size=50, max_position_embeddings=64, **sizes, **drop, attn_implementation=attention)
    return BertForSequenceClassification(config)


def step(model: BertForSequenceClassification, shape: tuple[int, int], *, backward: bool) -> None:
    ids = torch.ones(shape, dtype=torch.long)
    with torch.set_grad_enabled(backward):
        loss = model(input_ids=ids, attention_mask=ids, labels=torch.zeros(shape[0], dtype=torch.long)).loss
        if backward:
            loss.backward()


def counted(model: BertForSequenceClassification, shapes: Sequence[tuple[int, int]], *, backward: bool) -> int:
    """Return the FLOPs, every step of them counted."""
    with FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter:
        for shape in shapes:
            step(model, shape, backward=backward)
    return int(counter.get_total_flops())


def estimated(model: BertForSequenceClassification, shapes: Sequence[tuple[int, int]], *, backward: bool) -> PhaseCost:
    cost = PhaseCost()
    for shape in shapes:
        with count_step(cost, [shape]):
            step(model, shape, backward=backward)
    settle_flops(cost)
    return cost


@pytest.mark.parametrize("backward", [True, False])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_flops_of_all_steps_from_the_first_ones(backward: bool, dropout: float) -> None:
    """What is counted per row and not per token, pooler and classifier, makes the whole difference."""
    model = tiny_bert(dropout=dropout).train(backward)
    cost = estimated(model, SHAPES, backward=backward)
    assert len(cost.counted) == STEPS_COUNTED
    assert cost.flops == pytest.approx(counted(model, SHAPES, backward=backward), rel=1e-3)


def test_flops_of_equal_steps_are_exact() -> None:
    model, shapes = tiny_bert(), [(4, 16)] * 5
    assert estimated(model, shapes, backward=True).flops == counted(model, shapes, backward=True)


def test_flops_of_a_step_of_several_batches() -> None:
    model, cost = tiny_bert(), PhaseCost()
    for shapes in ([(4, 16), (4, 8)], [(2, 8), (4, 24)], [(4, 8), (4, 8)]):
        with count_step(cost, shapes):
            for shape in shapes:
                step(model, shape, backward=False)
    settle_flops(cost)
    assert (cost.steps, cost.examples) == (3, 22)
    assert cost.flops == pytest.approx(counted(model, cost.shapes, backward=False), rel=1e-3)


def test_forward_flops_by_hand() -> None:
    """Two per multiplication and addition: six projections and two attention products per layer, and the head."""
    B, T = 4, 16
    per_layer = 4 * B * T * WIDTH * WIDTH + 2 * B * T * WIDTH * INNER + 2 * B * T * T * WIDTH
    head = B * WIDTH * WIDTH + B * WIDTH * CLASSES
    assert counted(tiny_bert(), [(B, T)], backward=False) == 2 * (LAYERS * per_layer + head)


def test_fused_attention_on_the_cpu_counts_as_the_written_out_one() -> None:
    fused, eager = (tiny_bert(attention=attention) for attention in ("sdpa", "eager"))
    assert counted(fused, SHAPES, backward=False) == counted(eager, SHAPES, backward=False)
    # Its backward pass computes the scores again: five products instead of four.
    again = sum(2 * rows * length * length * WIDTH * LAYERS for rows, length in SHAPES)
    with_backward = counted(fused, SHAPES, backward=True) - counted(eager, SHAPES, backward=True)
    assert with_backward == again


def test_a_phase_without_products_has_no_flops() -> None:
    stepped, untouched = PhaseCost(), PhaseCost()
    for _ in range(3):
        with count_step(stepped, [(2, 3)]):
            pass
    settle_flops(stepped)
    settle_flops(untouched)
    assert (stepped.steps, stepped.examples, stepped.flops) == (3, 6, 0)
    assert untouched.flops is None


def test_parts_of_a_phase_add_up_by_name() -> None:
    cost = PhaseCost()
    for name in ("inference", "post_processing", "inference"):
        with part(cost, name):
            pass
    assert set(cost.to_json()["part_seconds"]) == {"inference", "post_processing"}
    assert all(seconds >= 0 for seconds in cost.to_json()["part_seconds"].values())


@pytest.mark.parametrize("flops", [(1000, 100), (100, 1000)])
def test_steps_that_differ_in_more_than_their_shapes_are_spread_over_their_tokens(flops: tuple[int, int]) -> None:
    cost = PhaseCost(shapes=[(2, 10), (2, 9), (2, 5)])
    cost.counted = [(20, 200, flops[0]), (18, 162, flops[1])]  # one answer ended at once, the other did not
    settle_flops(cost)
    assert cost.flops == round(1100 / 38 * 48)


def test_passes_of_another_kind_are_charged_but_do_not_change_what_a_step_costs() -> None:
    """2 * 3 * 4 FLOPs a token of a step, 2 * 3 * 5 one of the pass before; they are no steps, and counted once."""
    a_34, a_35 = torch.ones(3, 4), torch.ones(3, 5)
    cost = PhaseCost()
    with counted_apart(cost) as apart:
        for length in (2, 9, 4):
            with count_step(apart, [(1, length)]):
                torch.ones(length, 3) @ a_35
    settle_flops(cost)
    assert (cost.flops, cost.steps) == (15 * 2 * 3 * 5, None), "left before the first step"
    for length in (4, 6, 10):
        with count_step(cost, [(1, length)]):
            torch.ones(length, 3) @ a_34
        settle_flops(cost)
    assert (cost.flops, cost.steps) == (15 * 2 * 3 * 5 + 20 * 2 * 3 * 4, 3)
    assert "apart_flops" not in cost.to_json()
