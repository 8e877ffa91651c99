"""What single kinds compute, against their definitions."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import light_peft
from light_peft import artifacts, door
from light_peft.config import PeftConfig
from light_peft.model import describe
from light_peft.model.cut import MatrixCut
from light_peft.peft_modules import peft_kind
from light_peft.peft_modules.difference import observe_difference
from light_peft.pipeline import Run
from light_peft.session import run
from matrix import attach_random, configured
from model_cases import TARGETS, logits, tiny_batch, tiny_model

QUERY = "bert.encoder.layer.0.attention.self.query"
OUTPUT = "bert.encoder.layer.2.output.dense"
BATCH = tiny_batch()


def attached(*words: str) -> Any:
    door.register()
    torch.manual_seed(0)
    return attach_random(configured(*words), tiny_model("bert"))[0]


def test_the_scaling_of_rslora_survives_a_cut() -> None:
    kind, config = peft_kind("lora"), PeftConfig(kind="lora", r=4, alpha=6.0, use_rslora=True, targets=TARGETS)
    model = tiny_model("bert")
    bare, adapter = kind.take_off(kind.attach(model, describe(model), config))
    cut = kind.put_on(bare, kind.cut(adapter, bare, {QUERY: (1, 2, 3), OUTPUT: (0,)}, {}))
    for path in (QUERY, OUTPUT):
        assert kind.bare(cut).get_submodule(path).scaling["default"] == pytest.approx(6.0 / math.sqrt(4))


def test_doras_magnitude_follows_the_norm_of_what_is_left() -> None:
    model, kind = attached("peft=dora"), peft_kind("lora")
    bare, adapter = kind.take_off(model)
    columns, scale = torch.tensor([0, 3, 9]), torch.tensor([0.5, 2.0, 1.5])
    cut = kind.cut(adapter, bare, {OUTPUT: (0, 2)}, {OUTPUT: MatrixCut(columns=columns, column_scale=scale)})
    a, b, magnitude = (
        adapter.tensors[f"base_model.model.{OUTPUT}.{n}"]
        for n in ("lora_A.weight", "lora_B.weight", "lora_magnitude_vector")
    )
    whole = bare.get_submodule(OUTPUT).weight + 2.0 * b[:, [0, 2]] @ a[[0, 2]]
    expected = magnitude * (whole[:, columns] * scale).norm(dim=1) / whole.norm(dim=1)
    torch.testing.assert_close(cut.tensors[f"base_model.model.{OUTPUT}.lora_magnitude_vector"], expected)


@pytest.mark.parametrize(
    ("placement", "expected"), [("houlsby", ["attn", "ffn"]), ("pfeiffer", ["ffn"]), ("parallel", ["ffn"])]
)
def test_where_bottleneck_adapters_sit_and_what_they_read(placement: str, expected: list[str]) -> None:
    model, kind = attached("peft=bottleneck", f"peft.placement={placement}"), peft_kind("bottleneck")
    sites = [site for site in describe(tiny_model("bert")).sites if site.kind in expected]
    assert list(kind.views(model)) == [site.consumer.path for site in sites]
    seen: dict[str, torch.Tensor] = {}
    site = sites[-1]
    layer = model.get_submodule(site.consumer.path)
    producer = model.get_submodule(site.producers[0].path)
    producer.register_forward_hook(lambda module, inputs, output: seen.update(read=inputs[0]))
    layer.register_forward_hook(lambda module, inputs, output: seen.update(x=inputs[0], y=output))
    logits(model, BATCH)
    base = layer.base_layer(seen["x"])
    hidden = seen["read"] if placement == "parallel" else base
    adapter = layer.adapter
    torch.testing.assert_close(seen["y"], base + adapter.up(torch.relu(adapter.down(hidden))))


def test_a_fresh_bottleneck_adapter_changes_nothing() -> None:
    for placement in ("houlsby", "pfeiffer", "parallel"):
        model, kind = tiny_model("bert"), peft_kind("bottleneck")
        before = logits(model, BATCH)
        config = PeftConfig(kind="bottleneck", placement=placement)
        assert torch.equal(logits(kind.attach(model, describe(model), config).eval(), BATCH), before)


@pytest.mark.parametrize("placement", ["houlsby", "parallel"])
def test_bottleneck_adapters_stay_in_fp32_on_a_16_bit_model(placement: str) -> None:
    model, kind = tiny_model("bert").bfloat16(), peft_kind("bottleneck")
    attached = kind.attach(model, describe(model), PeftConfig(kind="bottleneck", placement=placement)).train()
    attached(**BATCH).loss.backward()
    for view in kind.views(attached).values():
        factors = view.factors()
        assert factors is not None
        assert all(factor.dtype == torch.float32 and factor.grad is not None for factor in factors)


def test_a_parallel_adapter_stops_reading_once_it_is_off() -> None:
    model, kind = attached("peft=bottleneck", "peft.placement=parallel"), peft_kind("bottleneck")
    bare, _ = kind.take_off(model)
    assert not any(module._forward_pre_hooks for module in bare.modules())


def test_ia3_multiplies_the_inputs_of_the_ffns_output_projection() -> None:
    model, kind = attached("peft=ia3"), peft_kind("ia3")
    config = model.peft_config["default"]
    assert config.feedforward_modules == {path for path in kind.views(model) if path.endswith("output.dense")}
    assert kind.bare(model).get_submodule(OUTPUT).is_feedforward


class OpenSink:
    """Keeps the norms of every forward pass."""

    is_open = True

    def __init__(self, seen: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        self._seen = seen

    def __call__(self, increment_norm_BT: torch.Tensor, base_norm_BT: torch.Tensor) -> None:
        self._seen.append((increment_norm_BT, base_norm_BT))


def test_the_difference_of_a_layer_is_the_increment_of_lora() -> None:
    """What the kinds without an increment at hand are measured by agrees with what LoRA is measured by."""
    model, kind = attached("peft=lora"), peft_kind("lora")
    path, view = next(iter(kind.views(model).items()))
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    sink = OpenSink(seen)
    handles = [
        *view.observe(sink, with_dropout=False),
        *observe_difference(kind.bare(model).get_submodule(path), sink, with_dropout=False),
        *observe_difference(kind.bare(model).get_submodule(path), sink, with_dropout=True),
    ]
    model(**BATCH)
    for handle in handles:
        handle.remove()
    assert len(seen) == 3
    for increment_norm, base_norm in seen[1:]:
        torch.testing.assert_close(increment_norm, seen[0][0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(base_norm, seen[0][1])


def test_an_adapter_of_our_own_is_refused_by_a_wrong_base(tmp_path: Path) -> None:
    model, kind = attached("peft=bitfit"), peft_kind("bitfit")
    bare, adapter = kind.take_off(model)
    cut = kind.cut(adapter, bare, {}, {QUERY: MatrixCut(rows=torch.arange(6))})
    with pytest.raises(ValueError, match=r"wrong base model: .*query\.bias has shape \[24\], the adapter's is \[6\]"):
        kind.put_on(bare, cut)


def test_adalora_allocates_ranks_and_cuts_them_in_the_end() -> None:
    model, kind = attached("peft=adalora", "peft.r=2", "peft.init_r=4"), peft_kind("adalora")
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    model.train()
    [allocation] = kind.observers(model, 6)
    for step in range(6):
        model(**BATCH).loss.backward()
        allocation.after_backward(step)
        optimizer.step()
        optimizer.zero_grad()
        allocation.after_step(step)
    layers = [kind.bare(model).get_submodule(path) for path in kind.views(model)]
    ranks = [layer.lora_E["default"].shape[0] for layer in layers]
    assert sum(ranks) == 2 * len(layers)
    assert all(layer.lora_A["default"].shape[0] == rank for layer, rank in zip(layers, ranks, strict=True))
    before = logits(model.eval(), BATCH)
    bare, adapter = kind.take_off(model)
    assert torch.equal(logits(kind.put_on(bare, adapter).eval(), BATCH), before)
    with pytest.raises(ValueError, match="1 step is too short for peft=adalora"):
        kind.observers(model, 1)


@pytest.mark.parametrize("words", [["peft=adalora", "peft.r=2"], ["peft=bitfit"], ["peft=bottleneck"], ["peft=dora"]])
def test_a_whole_run_loads_back_to_the_bit_without_a_saved_model(tmp_path: Path, words: list[str]) -> None:
    trained: list[torch.Tensor] = []

    class Watched(Run):
        def save(self) -> None:
            trained.append(logits(self.model.eval(), BATCH))
            super().save()

    door.register()
    config = configured("debug=smoke", *words, "data.max_eval_samples=8", "save.model=false", f"run_dir={tmp_path}/run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("light_peft.session.Run", Watched)
        run(config, Console(quiet=True))
    assert torch.equal(logits(light_peft.load(tmp_path / "run"), BATCH), trained[0])
    assert (tmp_path / "run" / artifacts.ADAPTER / "adapter_model.safetensors").is_file()
