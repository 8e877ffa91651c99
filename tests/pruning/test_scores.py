"""The equations against cases computed by hand."""

import pytest
import torch

from light_peft.pruning.scores import (
    Scores,
    importance_ratio_BT,
    mask_importance,
    output_norm_BT,
    product_norm_BT,
    rank_importance_R,
)

A_RI = torch.tensor([[1.0, 2.0], [3.0, -4.0]])
A_GRAD_RI = torch.tensor([[0.5, 1.0], [1.0, 1.0]])
B_OR = torch.tensor([[1.0, 0.0], [2.0, 5.0], [-1.0, 1.0]])
B_GRAD_OR = torch.tensor([[3.0, 7.0], [0.0, 0.2], [6.0, -4.0]])


def test_rank_importance_by_hand() -> None:
    # rank 0: A gives |(0.5 + 2) / 2| = 1.25 and B |(3 + 0 - 6) / 3| = 1
    # rank 1: A gives |(3 - 4) / 2| = 0.5 and B |(0 + 1 - 4) / 3| = 1
    taylor = rank_importance_R(A_RI, A_GRAD_RI, B_OR, B_GRAD_OR, "taylor")
    assert taylor.tolist() == pytest.approx([2.25, 1.5])
    # sums of |w g|: rank 0: 0.5 + 2 + 3 + 0 + 6 = 11.5; rank 1: 3 + 4 + 0 + 1 + 4 = 12
    taylor_abs = rank_importance_R(A_RI, A_GRAD_RI, B_OR, B_GRAD_OR, "taylor_abs")
    assert taylor_abs.tolist() == pytest.approx([11.5, 12.0])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_counts_as_zero(bad: float) -> None:
    gradient = A_GRAD_RI.clone()
    gradient[0, 0] = bad
    assert rank_importance_R(A_RI, gradient, B_OR, B_GRAD_OR, "taylor").tolist() == pytest.approx([0.0, 1.5])


def test_importance_ratio_by_hand() -> None:
    increment_BTO = torch.tensor([[[3.0, 4.0], [0.0, 0.0]]])
    base_BTO = torch.tensor([[[0.0, 10.0], [6.0, 8.0]]])
    ratio_BT = importance_ratio_BT(2.0 * output_norm_BT(increment_BTO), output_norm_BT(base_BTO))
    assert ratio_BT.tolist() == [[pytest.approx(1.0), 0.0]]


def test_a_silent_base_makes_a_module_important_and_not_void() -> None:
    ratio_BT = importance_ratio_BT(torch.ones(1, 1), torch.zeros(1, 1))
    assert ratio_BT.item() > 1e30


@pytest.mark.parametrize("alike", [0.0, 1.0, 1 - 1e-3])
def test_the_norm_of_a_product_needs_no_product(alike: float) -> None:
    """Also where the columns of B are nearly one, and h asks for their difference."""
    generator = torch.Generator().manual_seed(0)
    b_OR = torch.randn(40, 4, generator=generator)
    b_OR = alike * b_OR[:, :1] + (1 - alike) * b_OR
    hidden_BTR = torch.randn(3, 5, 4, generator=generator) - alike * torch.tensor([0.0, 0.0, 0.0, 1.0])
    hidden_BTR[..., 3] -= alike * hidden_BTR.sum(dim=-1)
    direct_BT = torch.linalg.vector_norm(hidden_BTR.double() @ b_OR.double().mT, dim=-1).float()
    norm_BT = product_norm_BT(hidden_BTR, b_OR)
    assert norm_BT.dtype == torch.float32
    torch.testing.assert_close(norm_BT, direct_BT, rtol=1e-5, atol=1e-6)


def test_the_norm_of_a_product_with_nothing_is_nothing() -> None:
    assert not product_norm_BT(torch.ones(2, 3, 4), torch.zeros(5, 4)).any()


def test_the_two_taylor_terms_are_one_number() -> None:
    """sum_k A gA = sum_k B gB for each rank, so the published sum weighs modules by their widths."""
    torch.manual_seed(0)
    a_RI, b_OR = torch.randn(3, 7, requires_grad=True), torch.randn(5, 3, requires_grad=True)
    (torch.randn(11, 7) @ a_RI.T @ b_OR.T).square().sum().backward()
    assert a_RI.grad is not None
    assert b_OR.grad is not None
    torch.testing.assert_close((a_RI * a_RI.grad).sum(dim=1), (b_OR * b_OR.grad).sum(dim=0))


def test_masks_are_compared_by_size_or_by_sign() -> None:
    mask = torch.tensor([0.5, -2.0], requires_grad=True)
    assert mask_importance(mask, "magnitude").tolist() == [0.5, 2.0]
    assert mask_importance(mask, "signed").tolist() == [0.5, -2.0]
    assert not mask_importance(mask, "signed").requires_grad


def test_scores_come_back_from_their_tensors() -> None:
    scores = Scores(
        attn=(torch.rand(4), torch.rand(3)),
        ffn=(torch.rand(8), torch.rand(6)),
        modules={"b": 0.25, "a.c": 0.5},
        ranks={"b": torch.rand(2), "a.c": torch.rand(4)},
        masks={"attn.0": torch.rand(4)},
    )
    back = Scores.from_tensors(scores.tensors())
    assert back.modules == scores.modules
    for name, tensor in scores.tensors().items():
        assert torch.equal(back.tensors()[name], tensor)


DEPTHS = {"low.a": 0, "low.b": 0, "top.a": 2, "top.b": 2}


@pytest.mark.parametrize(
    ("weight", "order"),
    [
        (0.0, ["low.a", "top.b", "top.a", "low.b"]),
        (0.25, ["low.a", "top.b", "top.a", "low.b"]),
        (0.5, ["top.b", "low.a", "top.a", "low.b"]),
        (1.0, ["top.b", "top.a", "low.a", "low.b"]),
    ],
)
def test_depth_counts_for_as_much_as_asked(weight: float, order: list[str]) -> None:
    """By importance low.a leads top.b by a third; by depth top.b leads low.a by two thirds."""
    values = {"low.a": 9.0, "low.b": 1.0, "top.a": 2.0, "top.b": 8.0}
    ranks = {name: torch.ones(2) for name in values}
    leaning = Scores((torch.ones(1),), (torch.ones(1),), values, ranks).leaning(DEPTHS, weight)
    found = sorted(values, key=lambda name: (-leaning.modules[name], -values[name]))
    assert found == order
    assert leaning.ranks is ranks


def test_scores_refuse_what_is_not_finite() -> None:
    with pytest.raises(AssertionError, match="finite"):
        Scores((torch.tensor([float("nan")]),), (torch.ones(1),))
