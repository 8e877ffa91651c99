import math

import pytest
import torch
from torch import nn

from light_peft.training.optim import (
    SCHEDULERS,
    ParameterGroup,
    build_optimizer,
    build_scheduler,
    count_steps,
    trainable_groups,
)


def rates(kind: str, *, warmup: float, steps: int) -> list[float]:
    """Return the learning rate of each step, for a peak of 1."""
    optimizer = build_optimizer([ParameterGroup([nn.Parameter(torch.zeros(1))], 1.0)])
    scheduler = build_scheduler(optimizer, kind=kind, warmup=warmup, steps=steps)
    found = []
    for _ in range(steps):
        found.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return found


def test_linear_without_warmup() -> None:
    assert rates("linear", warmup=0, steps=4) == pytest.approx([1, 0.75, 0.5, 0.25])


@pytest.mark.parametrize("warmup", [2, 2.0, 0.25])
def test_warmup_as_a_count_and_as_a_fraction(warmup: float) -> None:
    expected = [0, 0.5, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    assert rates("linear", warmup=warmup, steps=8) == pytest.approx(expected)


def test_constant() -> None:
    assert rates("constant", warmup=2, steps=5) == pytest.approx([0, 0.5, 1, 1, 1])


def test_cosine() -> None:
    expected = [0, 1, *[(1 + math.cos(math.pi * done / 4)) / 2 for done in (1, 2, 3)]]
    assert rates("cosine", warmup=1, steps=5) == pytest.approx(expected)


def test_every_group_follows_the_schedule_from_its_own_peak() -> None:
    groups = [ParameterGroup([nn.Parameter(torch.zeros(1))], rate) for rate in (1.0, 10.0)]
    optimizer = build_optimizer(groups)
    scheduler = build_scheduler(optimizer, kind="linear", warmup=0, steps=2)
    optimizer.step()
    scheduler.step()
    assert scheduler.get_last_lr() == pytest.approx([0.5, 5.0])


@pytest.mark.parametrize(
    ("asked", "total", "steps"), [(0, 10, 0), (0.1, 200, 20), (0.5, 9, 4), (1, 10, 1), (800.0, 10, 800)]
)
def test_steps_as_a_count_and_as_a_fraction(asked: float, total: int, steps: int) -> None:
    assert count_steps(asked, total) == steps


def test_only_matrices_decay_and_only_what_is_trainable_moves() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 1))
    model[2].requires_grad_(False)
    matrices, vectors = trainable_groups(model, 0.1, 0.01)
    assert [id(p) for p in matrices.parameters] == [id(model[0].weight)]
    assert [id(p) for p in vectors.parameters] == [id(model[0].bias), id(model[1].weight), id(model[1].bias)]
    assert (matrices.weight_decay, vectors.weight_decay) == (0.01, 0.0)
    assert matrices.learning_rate == vectors.learning_rate == 0.1


def test_a_group_without_parameters_is_left_out() -> None:
    (only,) = trainable_groups(nn.Linear(2, 2, bias=False), 0.1, 0.01)
    assert only.weight_decay == 0.01
    assert trainable_groups(nn.Linear(2, 2).requires_grad_(False), 0.1, 0.01) == []


def test_one_step_of_adamw_by_hand() -> None:
    """The first step moves by the rate against the gradient's sign; the decay comes on top, scaled by the rate."""
    decayed, plain = (nn.Parameter(torch.tensor([2.0])) for _ in range(2))
    optimizer = build_optimizer([ParameterGroup([decayed], 0.1, 0.5), ParameterGroup([plain], 0.1)])
    for parameter in (decayed, plain):
        parameter.grad = torch.tensor([3.0])
    optimizer.step()
    assert float(plain.detach()) == pytest.approx(2 - 0.1)
    assert float(decayed.detach()) == pytest.approx(2 * (1 - 0.1 * 0.5) - 0.1)
    assert [(group["betas"], group["eps"]) for group in optimizer.param_groups] == [((0.9, 0.999), 1e-8)] * 2


def test_every_scheduler_starts_from_warmup() -> None:
    for kind in SCHEDULERS:
        assert rates(kind, warmup=2, steps=4)[:3] == pytest.approx([0, 0.5, 1])


def moved(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], steps: range) -> None:
    """Take these steps, each with gradients of its own."""
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()


def drawn() -> list[nn.Parameter]:
    """A matrix and a vector, always the same."""
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((8, 16), (16,))]


def groups_of(parameters: list[nn.Parameter]) -> list[ParameterGroup]:
    return [ParameterGroup(parameters[:1], 0.01, weight_decay=0.1), ParameterGroup(parameters[1:], 0.02)]


def test_the_optimizer_is_adamw() -> None:
    ours, theirs = drawn(), drawn()
    plain = torch.optim.AdamW(
        [
            {"params": theirs[:1], "lr": 0.01, "weight_decay": 0.1},
            {"params": theirs[1:], "lr": 0.02, "weight_decay": 0.0},
        ],
        foreach=False,
        fused=False,
    )
    moved(build_optimizer(groups_of(ours)), ours, range(20))
    moved(plain, theirs, range(20))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_an_optimizer_goes_on_from_its_state_to_the_bit() -> None:
    whole, halves = drawn(), drawn()
    moved(build_optimizer(groups_of(whole)), whole, range(20))
    first = build_optimizer(groups_of(halves))
    moved(first, halves, range(10))
    second = build_optimizer(groups_of(halves))
    second.load_state_dict(first.state_dict())
    moved(second, halves, range(10, 20))
    assert all(torch.equal(one, other) for one, other in zip(whole, halves, strict=True))
