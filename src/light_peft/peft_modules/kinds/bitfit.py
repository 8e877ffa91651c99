"""BitFit (Ben Zaken et al., arXiv 2106.10199): the biases inside the blocks are trained, and the head.

Nothing is added to the model; what the biases were before is kept, so that it comes off unchanged.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from light_peft.config import Config, PeftConfig
from light_peft.model import Backbone
from light_peft.model.cut import MatrixCut
from light_peft.peft_modules.kind import Adapter, PeftKind
from light_peft.peft_modules.own import load_own, put_tensors, save_own, train_head, trained_tensors


class TrainedBiases(nn.Module):
    """A model whose biases are trained.

    Attributes:
        model: The foundation model.
        biases: The biases as they were, by name.
    """

    def __init__(self, model: PreTrainedModel, names: list[str]) -> None:
        """Note the named biases of `model`."""
        super().__init__()
        self.model = model
        self.biases = {name: model.get_parameter(name).detach().clone() for name in names}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the model returns."""
        return self.model(*args, **kwargs)


class BitFit(PeftKind):
    """The BitFit kind."""

    settings = frozenset[str]()

    def refusals(self, config: Config) -> Iterator[str]:
        """Yield a bias that recovery would set and the trained one would overwrite."""
        if config.prune.method != "none" and config.prune.compensate_bias:
            yield "prune.compensate_bias=true: peft=bitfit trains those biases itself; set prune.compensate_bias=false"

    def model_refusals(self, config: Config, model: PreTrainedModel, backbone: Backbone) -> Iterator[str]:
        """Yield a model without biases."""
        if not bias_names(model, backbone):
            yield (
                f"peft.kind=bitfit: the blocks of '{model.config.model_type}' have no biases; take another kind, "
                "such as peft=lora"
            )

    def attach(self, model: PreTrainedModel, backbone: Backbone, config: PeftConfig) -> nn.Module:
        """Return `model` with the biases of its blocks and its head trainable."""
        train_head(model, backbone.head_modules)
        names = bias_names(model, backbone)
        for name in names:
            model.get_parameter(name).requires_grad_(True)
        return TrainedBiases(model, names)

    def bare(self, model: nn.Module) -> PreTrainedModel:
        """Return the foundation model."""
        assert isinstance(model, TrainedBiases)
        return model.model

    def take_off(self, model: nn.Module) -> tuple[PreTrainedModel, Adapter]:
        """Return the model with the biases it had, and the trained ones."""
        assert isinstance(model, TrainedBiases)
        adapter = Adapter(list(model.biases), trained_tensors(model.model))
        put_tensors(model.model, model.biases)
        return model.model, adapter

    def cut(
        self, adapter: Adapter, model: PreTrainedModel, ranks: dict[str, tuple[int, ...]], cuts: dict[str, MatrixCut]
    ) -> Adapter:
        """Return the biases of the output features that stay."""
        tensors = {
            name: cuts.get(name.removesuffix(".bias"), MatrixCut()).of_output(tensor)
            for name, tensor in adapter.tensors.items()
        }
        tensors = {name: tensor for name, tensor in tensors.items() if tensor.numel()}
        return Adapter([name for name in adapter.config if name in tensors], tensors)

    def put_on(self, model: PreTrainedModel, adapter: Adapter) -> nn.Module:
        """Return `model` with the trained biases, ready to train."""
        trained = TrainedBiases(model, adapter.config)
        put_tensors(model, adapter.tensors)
        return trained

    def save(self, model: nn.Module, folder: Path, base_name: str) -> None:
        """Write the trained biases and the head."""
        values = {"peft_type": "BITFIT", "base_model_name_or_path": base_name}
        save_own(folder, values, trained_tensors(self.bare(model)))

    def load(self, base: PreTrainedModel, folder: Path) -> nn.Module:
        """Return `base` with the trained biases in it."""
        put_tensors(base, load_own(folder)[1])
        return base.requires_grad_(False).eval()

    def merge(self, model: nn.Module) -> PreTrainedModel:
        """Return the foundation model, whose own biases they are."""
        return self.bare(model) if isinstance(model, TrainedBiases) else model  # type: ignore[return-value]


def bias_names(model: nn.Module, backbone: Backbone) -> list[str]:
    """Return the names of the biases inside the blocks, those of the norms included."""
    blocks = tuple(f"{block}." for block in backbone.blocks)
    return [name for name, _ in model.named_parameters() if name.endswith(".bias") and name.startswith(blocks)]


KIND = BitFit()
