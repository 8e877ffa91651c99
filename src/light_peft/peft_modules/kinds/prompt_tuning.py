"""Prompt tuning through HF peft (Lester et al., arXiv 2104.08691): learned embeddings before those of the text.

The head then reads the first virtual token. A head that looks for its token in the ids of the text, as decoders'
and encoder-decoders' heads do, sees no ids here and would read padding; such models are refused.
"""

from collections.abc import Iterator

from peft import PromptTuningConfig
from transformers import PreTrainedModel

from light_peft.config import Config
from light_peft.model import Backbone
from light_peft.model.head import CLASSIFICATION, ends_in
from light_peft.peft_modules.virtual import VirtualTokens

FIRST_TOKEN_HEAD = "classifier"
"""Name of the heads that read the first position (or a mean), not one that they look for."""


class PromptTuning(VirtualTokens):
    """The prompt tuning kind."""

    config_type = PromptTuningConfig

    def sizes(self, model: PreTrainedModel, backbone: Backbone) -> dict[str, int]:
        """Return the width of the embeddings, which need not be the blocks', and what peft asks for along with it."""
        width = model.get_input_embeddings().get_parameter("weight").shape[1]
        return {"token_dim": width, "num_layers": backbone.num_layers, "num_attention_heads": 1}

    def model_refusals(self, config: Config, model: PreTrainedModel, backbone: Backbone) -> Iterator[str]:
        """Yield too little room, and heads that would read padding."""
        yield from super().model_refusals(config, model, backbone)
        if ends_in(model, CLASSIFICATION) and FIRST_TOKEN_HEAD not in backbone.head_modules:
            yield (
                f"peft.kind=prompt_tuning: the head of '{model.config.model_type}' finds its token by the ids of the "
                "text, which it does not see behind a prompt; take an encoder, or another kind such as peft=lora"
            )


KIND = PromptTuning()
