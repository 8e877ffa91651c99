"""Full fine-tuning: nothing is added, every parameter is trained, there are no modules to prune."""

from pathlib import Path

from torch import nn
from transformers import PreTrainedModel

from light_peft.config import PeftConfig
from light_peft.model import Backbone
from light_peft.model.cut import MatrixCut
from light_peft.peft_modules.kind import Adapter, PeftKind


class FullFineTuning(PeftKind):
    """The PEFT kind that adds nothing."""

    settings = frozenset[str]()
    keeps_base = False

    def attach(self, model: PreTrainedModel, backbone: Backbone, config: PeftConfig) -> nn.Module:
        """Return `model` with every parameter trainable."""
        return model.requires_grad_(True)

    def bare(self, model: nn.Module) -> PreTrainedModel:
        """Return the model itself."""
        assert isinstance(model, PreTrainedModel)
        return model

    def take_off(self, model: nn.Module) -> tuple[PreTrainedModel, Adapter]:
        """Return the model itself and an empty adapter."""
        return self.bare(model), Adapter(None, {})

    def cut(
        self, adapter: Adapter, model: PreTrainedModel, ranks: dict[str, tuple[int, ...]], cuts: dict[str, MatrixCut]
    ) -> Adapter:
        """Return the empty adapter."""
        return adapter

    def put_on(self, model: PreTrainedModel, adapter: Adapter) -> nn.Module:
        """Return the model itself."""
        return model.requires_grad_(True)

    def save(self, model: nn.Module, folder: Path, base_name: str) -> None:
        """Write nothing: the saved foundation model is the trained one."""

    def load(self, base: PreTrainedModel, folder: Path) -> nn.Module:
        """Return `base`, which is the trained model."""
        return base.eval()

    def merge(self, model: nn.Module) -> PreTrainedModel:
        """Return the model itself."""
        return self.bare(model)


KIND = FullFineTuning()
