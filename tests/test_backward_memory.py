"""What autograd keeps is counted once per storage, and at its peak."""

import torch
from torch import nn

from light_peft.backward_memory import saved_for_backward


def test_what_is_kept_for_the_backward_pass_is_counted_once() -> None:
    layer, x = nn.Linear(8, 8, bias=False), torch.randn(4, 8, requires_grad=True) * 1
    with saved_for_backward([layer.weight]) as saved:
        y = (layer(x) ** 2).sum() + (x * 2).exp().sum()  # x for the matrix, the product to square, the exponential
    assert saved.peak == (4 * 8 + 4 * 8 + 4 * 8) * 4, "x for the matrix, its product to square, the exponential"
    y.backward()


def test_what_is_kept_at_a_time_is_what_counts() -> None:
    x = torch.randn(4, 8, requires_grad=True)
    with saved_for_backward([]) as saved:
        for rows in (1, 3, 2):
            (x[:rows] * 2).exp().sum().backward()
    assert saved.peak == 3 * 8 * 4
