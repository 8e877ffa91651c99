"""The importance ratio of kinds whose increment is not at hand: what they make of the base layer's output.

Shape suffixes: B batch, T tokens, I input, O output.
"""

from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from light_peft.peft_modules.kind import RatioSink
from light_peft.pruning.scores import output_norm_BT


def observe_difference(layer: nn.Module, sink: RatioSink, *, with_dropout: bool) -> tuple[RemovableHandle, ...]:
    """Give `sink` the norm of y - y0: the layer's output less that of its `base_layer` on the same input.

    The ratio is then ||y - y0|| / ||y0||, which is ||dW x|| / ||W0 x + b|| where the increment is linear. In 16
    bits the difference of two rounded outputs is never below about 2^-9 of them.

    Args:
        layer: A wrapper with a `base_layer`.
        sink: Receives the norms of the difference and of y0.
        with_dropout: Whether y is the output of the forward pass itself, or one without dropout.
    """
    base_layer = layer.get_submodule("base_layer")

    def after_layer(_: nn.Module, inputs: tuple[torch.Tensor, ...], output_BTO: torch.Tensor) -> None:
        if not sink.is_open:
            return
        with torch.no_grad():
            input_BTI = inputs[0].detach()
            base_BTO = base_layer(input_BTI)
            difference_BTO = (output_BTO if with_dropout else _without_dropout(layer, input_BTI)) - base_BTO
        sink(output_norm_BT(difference_BTO), output_norm_BT(base_BTO))

    return (layer.register_forward_hook(after_layer),)


def _without_dropout(layer: nn.Module, input_BTI: torch.Tensor) -> Any:
    was_training = layer.training
    output_BTO = layer.eval().forward(input_BTI)
    layer.train(was_training)
    return output_BTO
