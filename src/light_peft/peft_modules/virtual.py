"""What the kinds that put virtual tokens before the text have in common; HF peft implements them around the model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from peft import PeftConfig as HfConfig
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from light_peft.config import Config, PeftConfig
from light_peft.model import Backbone
from light_peft.model.cut import MatrixCut
from light_peft.model.head import CLASSIFICATION, ends_in
from light_peft.peft_modules.hf import adapter_of, save_adapter, unwrap_head, with_adapter, wrapped
from light_peft.peft_modules.kind import Adapter, PeftKind


class VirtualTokens(PeftKind):
    """A kind whose only tensor, besides the head's, is one row per virtual token."""

    settings = frozenset({"virtual_tokens"})
    config_type: type[HfConfig]

    def model_refusals(self, config: Config, model: PreTrainedModel, backbone: Backbone) -> Iterator[str]:
        """Yield a head that HF peft's form of these kinds is not for, and examples that leave no positions."""
        if not ends_in(model, CLASSIFICATION):
            yield (
                f"peft.kind={config.peft.kind}: only a classifier can be behind virtual tokens, and this is a "
                f"{type(model).__name__}; take another kind, such as peft=lora"
            )
        limit, tokens = backbone.family.max_tokens(model.config), config.peft.virtual_tokens
        if config.max_length + tokens > limit:
            yield (
                f"peft.virtual_tokens={tokens}: with data.max_length={config.max_length} that is more than the "
                f"{limit} tokens this model takes; lower one of them"
            )

    def attach(self, model: PreTrainedModel, backbone: Backbone, config: PeftConfig) -> nn.Module:
        """Return `model` behind fresh virtual tokens; the head is trained in full."""
        sizes = {"num_virtual_tokens": config.virtual_tokens, **self.sizes(model, backbone)}
        own: Any = self.config_type(task_type="SEQ_CLS", **sizes)  # type: ignore[arg-type]
        own.modules_to_save = list(backbone.head_modules)
        return wrapped(model, own)

    def sizes(self, model: PreTrainedModel, backbone: Backbone) -> dict[str, int]:
        """Return what HF peft need not read from the model's configuration."""
        return {}

    def bare(self, model: nn.Module) -> PreTrainedModel:
        """Return the foundation model."""
        return cast(PreTrainedModel, cast(PeftModel, model).get_base_model())

    def take_off(self, model: nn.Module) -> tuple[PreTrainedModel, Adapter]:
        """Return the bare model with the trained head, and the virtual tokens."""
        adapter, bare = adapter_of(cast(PeftModel, model)), self.bare(model)
        unwrap_head(bare)
        return bare, adapter

    def cut(
        self, adapter: Adapter, model: PreTrainedModel, ranks: dict[str, tuple[int, ...]], cuts: dict[str, MatrixCut]
    ) -> Adapter:
        """Return the adapter as it is."""
        return adapter

    def put_on(self, model: PreTrainedModel, adapter: Adapter) -> nn.Module:
        """Return `model` behind its virtual tokens, ready to train."""
        return with_adapter(model, adapter)

    def save(self, model: nn.Module, folder: Path, base_name: str) -> None:
        """Write the virtual tokens and the head in HF peft's format."""
        save_adapter(cast(PeftModel, model), folder, base_name)

    def load(self, base: PreTrainedModel, folder: Path) -> nn.Module:
        """Return `base` behind the saved virtual tokens, in eval mode."""
        return PeftModel.from_pretrained(base, str(folder)).requires_grad_(False).eval()

    def merge(self, model: nn.Module) -> PreTrainedModel:
        """Refuse: tokens are no weights of the model.

        Raises:
            ValueError: Always.
        """
        raise ValueError("merge=true: virtual tokens are no weights of the model; load with merge=false")
