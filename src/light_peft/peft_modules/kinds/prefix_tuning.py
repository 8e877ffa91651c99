"""Prefix tuning through HF peft (Li & Liang, arXiv 2101.00190): learned keys and values in every layer.

All layers' prefixes lie in one tensor [V, L * 2 * H * W] (V virtual tokens, L layers, key and value, H key/value
heads of width W), so a cut can follow only where all layers keep equally many heads.
"""

import copy
import inspect
from collections.abc import Iterator

import torch
from peft import PrefixTuningConfig
from transformers import PreTrainedModel

from light_peft.config import Config
from light_peft.model import Backbone, Site, describe
from light_peft.model.checkpointing import recomputing_refused
from light_peft.model.cut import MatrixCut
from light_peft.peft_modules.hf import PROMPT
from light_peft.peft_modules.kind import Adapter
from light_peft.peft_modules.virtual import VirtualTokens


class PrefixTuning(VirtualTokens):
    """The prefix tuning kind."""

    config_type = PrefixTuningConfig

    def refusals(self, config: Config) -> Iterator[str]:
        """Yield rules that may leave the layers different numbers of heads, or none, and recomputed activations."""
        prune = config.prune
        reason = (
            "blocks that compute their activations again take no keys and values from outside, as prefix tuning gives"
        )
        yield from recomputing_refused(config, reason)
        if prune.method == "none" or not prune.attn:
            return
        if prune.criterion == "layer":
            yield "prune.criterion=layer: prefix_tuning needs equally many heads in all layers; take another criterion"
        for key, wanted in (("attn_scope", "layer"), ("threshold", "count"), ("allow_empty", False)):
            if (value := getattr(prune, key)) != wanted:
                yield (
                    f"prune.{key}={str(value).lower()}: prefix_tuning needs equally many heads in all layers; "
                    f"set prune.{key}={str(wanted).lower()} or prune.attn=0"
                )

    def model_refusals(self, config: Config, model: PreTrainedModel, backbone: Backbone) -> Iterator[str]:
        """Yield too little room, and models that take no keys and values from outside."""
        yield from super().model_refusals(config, model, backbone)
        parts = (model, model.base_model)
        takes = any("past_key_values" in inspect.signature(part.forward).parameters for part in parts)
        if not takes or model.config.is_encoder_decoder:
            yield (
                f"peft.kind=prefix_tuning: '{model.config.model_type}' takes no keys and values from outside "
                "(past_key_values) for all its layers; take another kind, such as peft=prompt_tuning or peft=lora"
            )

        share = config.prune.attn if config.prune.method != "none" else 0
        if share and hasattr(model.config, "num_key_value_heads"):
            yield (
                f"prune.attn={share:g}: prefixes follow the key/value heads that the configuration of "
                f"'{model.config.model_type}' names, not those that are left; set prune.attn=0, or take peft=lora"
            )

    def cut(
        self, adapter: Adapter, model: PreTrainedModel, ranks: dict[str, tuple[int, ...]], cuts: dict[str, MatrixCut]
    ) -> Adapter:
        """Return the prefixes of the heads that stay."""
        sites, prompt = describe(model).sites_of("attn"), adapter.tensors[PROMPT]
        prompt_VL2HW = prompt.view(len(prompt), len(sites), 2, sites[0].count, -1)
        left = [
            _of_heads(prompt_V2HW, site, cuts.get(site.consumer.path, MatrixCut()).columns)
            for prompt_V2HW, site in zip(prompt_VL2HW.unbind(1), sites, strict=True)
        ]
        num_heads, width = left[0].shape[-2:]
        described = copy.deepcopy(adapter.config)
        described.num_attention_heads = num_heads
        described.token_dim = num_heads * width
        tensors = adapter.tensors | {PROMPT: torch.stack(left, dim=1).flatten(1)}
        return Adapter(described, tensors)


def _of_heads(prompt_V2HW: torch.Tensor, site: Site, columns: torch.Tensor | None) -> torch.Tensor:
    """Return the prefixes of the heads whose columns of the consumer stay."""
    if columns is None:
        return prompt_V2HW
    heads = columns[:: site.consumer.size] // site.consumer.size
    return prompt_V2HW.index_select(2, heads.to(prompt_V2HW.device))


KIND = PrefixTuning()
