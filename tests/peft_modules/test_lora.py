"""A cut adapter: its configuration describes it, and stock peft agrees."""

import pytest
import torch
from peft import PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

from light_peft.config import PeftConfig
from light_peft.model import describe
from light_peft.peft_modules import peft_kind
from model_cases import logits, tiny_batch, tiny_model, with_random_lora

LORA = peft_kind("lora")
QUERY = "bert.encoder.layer.0.attention.self.query"
OUTPUT = "bert.encoder.layer.2.output.dense"


def test_taking_off_and_putting_on_is_the_identity() -> None:
    model, _ = with_random_lora(tiny_model("bert"))
    before = logits(model, tiny_batch())
    bare, adapter = LORA.take_off(model)
    assert not [name for name, _ in bare.named_parameters() if "lora" in name or "modules_to_save" in name]
    again = LORA.put_on(bare, adapter).eval()
    assert torch.equal(logits(again, tiny_batch()), before)


def test_the_scaling_keeps_the_rank_it_was_trained_with() -> None:
    model, _ = with_random_lora(tiny_model("bert"))
    bare, adapter = LORA.take_off(model)
    cut = LORA.put_on(bare, LORA.cut(adapter, bare, {QUERY: (1, 2, 3), OUTPUT: (0,)}, {}))
    views = LORA.views(cut)
    assert {path: view.rank for path, view in views.items()} == {QUERY: 3, OUTPUT: 1}
    for path in views:
        layer = LORA.bare(cut).get_submodule(path)
        assert layer.scaling["default"] == 6.0 / 4


def test_the_configuration_alone_rebuilds_the_adapter() -> None:
    """`rank_pattern`, `alpha_pattern` and targets say all: stock peft builds the same shapes from them."""
    model, _ = with_random_lora(tiny_model("bert"))
    bare, adapter = LORA.take_off(model)
    cut = LORA.put_on(bare, LORA.cut(adapter, bare, {QUERY: (0, 3), OUTPUT: (0, 1, 2, 3)}, {})).eval()
    assert isinstance(cut, PeftModel)
    config, state = cut.peft_config["default"], get_peft_model_state_dict(cut)
    stock = get_peft_model(tiny_model("bert"), config)
    result = set_peft_model_state_dict(stock, state)
    assert not result.unexpected_keys
    assert torch.equal(logits(stock.eval(), tiny_batch()), logits(cut, tiny_batch()))


def test_full_fine_tuning_trains_everything_and_has_no_modules() -> None:
    full, model = peft_kind("full"), tiny_model("roberta")
    attached = full.attach(model, describe(model), PeftConfig(kind="full"))
    assert all(parameter.requires_grad for parameter in attached.parameters())
    assert not full.views(attached)


def test_an_unknown_target_names_the_projections() -> None:
    model = tiny_model("bert")
    with pytest.raises(ValueError, match=r"peft\.targets: unknown projection \['qury'\].*query"):
        LORA.attach(model, describe(model), PeftConfig(kind="lora", targets=["qury"]))
