"""What one of several processes does for test_sharding.py; each case gives figures that the test judges.

    python sharded_cases.py RANK PROCESSES FOLDER CASE/FAMILY/COLUMN ...

The figures of all processes lie in FOLDER as JSON.
"""

import copy
import gc
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import distributed, nn
from torch.distributed.tensor import DTensor
from transformers import GenerationConfig

from light_peft import door
from light_peft.model import Backbone, describe
from light_peft.model.cut import weight_OI
from light_peft.model.precision import head_in_fp32
from light_peft.model.sharding import average_gradients, inside, shard, unshard
from light_peft.peft_modules import PeftKind, check_model, peft_kind
from light_peft.pruning.masks import MaskSet
from matrix import attach_random, columns, configured
from model_cases import batch_of, tiny_model

CPU = torch.device("cpu")
Figures = dict[str, Any]


class Pair:
    """The same random model twice, PEFT and masks inside; one of them is to be sharded."""

    def __init__(self, family: str, column: str) -> None:
        config = configured(*columns()[column])
        torch.manual_seed(0)
        self.kind: PeftKind = peft_kind(config.peft.kind)
        model = tiny_model(family)
        check_model(config, model, describe(model))
        self.model, self.backbone = attach_random(config, model)
        self.plain = copy.deepcopy(self.model)
        self.batch = {name: values[:4] for name, values in batch_of(family).items()}

    def masks_on(self, model: nn.Module) -> MaskSet:
        masks = MaskSet(self.kind.bare(model), self.backbone.sites)
        generator = torch.Generator().manual_seed(1)
        for mask in masks.masks.values():
            mask.data = torch.rand(mask.shape, generator=generator) + 0.5
        return masks

    def blocks(self) -> list[nn.Module]:
        return blocks_of(self.kind.bare(self.model), self.backbone)

    def rows(self, rank: int) -> dict[str, torch.Tensor]:
        """Return what process `rank` reads: every second row."""
        return {name: values[rank::2] for name, values in self.batch.items()}


def blocks_of(bare: nn.Module, backbone: Backbone) -> list[nn.Module]:
    return [bare.get_submodule(path) for path in backbone.blocks]


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the largest difference over the largest value."""
    return float((one - other).detach().abs().max() / other.detach().abs().max().clamp(min=1e-6))


def traces(model: nn.Module) -> list[Any]:
    """Return what sharding could leave on the modules: classes, attributes, hooks."""
    return [
        (
            name,
            type(m).__name__,
            {key: len(value) if isinstance(value, dict) else None for key, value in vars(m).items()},
        )
        for name, m in model.named_modules()
    ]


def local_bytes(model: nn.Module) -> int:
    """Return the bytes of frozen parameters that this process holds."""
    frozen = [p for p in model.parameters() if not p.requires_grad]
    return sum((p.to_local() if isinstance(p, DTensor) else p).nbytes for p in frozen)


def of_a_kind(family: str, column: str) -> Figures:
    """Compare forward and backward passes of the sharded model with those of the plain one."""
    rank = distributed.get_rank()
    pair = Pair(family, column)
    model, plain = pair.model, pair.plain
    before, values = traces(model), {name: t.clone() for name, t in model.state_dict().items()}
    masks, plain_masks = pair.masks_on(model), pair.masks_on(plain)
    names = {name: p for name, p in plain.named_parameters() if p.requires_grad}
    for other in range(2):
        (plain(**pair.rows(other)).loss / 2).backward()
    expected, expected_logits = gradients(plain), plain(**pair.rows(rank)).logits
    figures: Figures = {"trained": len(names), "plain_bytes": local_bytes(plain)}
    shard(model, pair.blocks(), CPU)
    figures["sharded_bytes"] = local_bytes(model)
    for turn in range(2):
        output = model(**pair.rows(rank))
        output.loss.backward()
        average_gradients(model.parameters())
        found = gradients(model)
        assert found.keys() == expected.keys(), sorted(found.keys() ^ expected.keys())
        figures[f"gradients_{turn}"] = max(difference(found[name], expected[name]) for name in expected)
        figures[f"logits_{turn}"] = difference(output.logits, expected_logits)
    with torch.no_grad():
        figures["logits_no_grad"] = difference(model(**pair.rows(rank)).logits, expected_logits)
    unshard(model)
    for either in (masks, plain_masks):
        either.remove()
    after = model.state_dict()
    assert list(after) == list(values)
    figures["is_bit_equal"] = all(torch.equal(after[name], values[name]) for name in values)
    figures["leaves_no_trace"] = traces(model) == before
    with torch.no_grad():
        figures["logits_afterwards"] = float((model(**pair.batch).logits - plain(**pair.batch).logits).abs().max())
    return figures


def tensors_alive() -> tuple[int, int]:
    """Return the number of tensors alive in this process, and their bytes."""
    tensors = [thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor)]
    return len(tensors), sum(tensor.nbytes for tensor in tensors)


def of_cycles(family: str, column: str) -> Figures:
    """Count what is alive after each cycle of sharding, a step and unsharding; tied weights stay one."""
    pair = Pair(family, column)
    alive: list[tuple[int, int]] = []
    for _ in range(3):
        shard(pair.model, pair.blocks(), CPU)
        pair.model(**pair.rows(distributed.get_rank())).loss.backward()
        average_gradients(pair.model.parameters())
        unshard(pair.model)
        gradients(pair.model)
        gc.collect()
        alive.append(tensors_alive())
    bare = pair.kind.bare(pair.model)
    tied = [bare.get_parameter(name) is bare.get_parameter(to) for name, to in bare.all_tied_weights_keys.items()]
    return {"alive": alive, "tied": tied}


def of_half_precision(family: str, column: str) -> Figures:
    """Shard a model whose frozen weights are in bf16 and whose PEFT and head are in fp32."""
    pair, rank = Pair(family, column), distributed.get_rank()
    for model in (pair.model, pair.plain):
        for parameter in model.parameters():
            parameter.data = parameter.data.to(torch.float32 if parameter.requires_grad else torch.bfloat16)
        head_in_fp32(pair.kind.bare(model), pair.backbone.head_modules)
    expected = pair.plain(**pair.rows(rank)).logits
    shard(pair.model, pair.blocks(), CPU)
    found = pair.model(**pair.rows(rank)).logits
    dtypes = {str(p.dtype) for p in pair.model.parameters() if isinstance(p, DTensor)}
    unshard(pair.model)
    return {"logits": difference(found, expected), "dtypes": sorted(dtypes)}


def of_generation(family: str, column: str) -> Figures:
    """Let each process write answers of another length, before anything else went through the model."""
    pair, rank = Pair(family, column), distributed.get_rank()
    bare, plain = pair.kind.bare(pair.model), pair.kind.bare(pair.plain)
    prompt = {"input_ids": pair.batch["input_ids"][rank : rank + 1, :3].clamp(min=2)}
    words = GenerationConfig(max_new_tokens=9, do_sample=False, pad_token_id=0, use_cache=True)
    expected = cast(Any, plain).generate(**prompt, generation_config=words)
    # One process ends with its second new token, the other goes on to the ninth.
    words.eos_token_id = int(expected[0, 4]) if rank else -1
    expected = cast(Any, plain).generate(**prompt, generation_config=words)
    shard(pair.model, pair.blocks(), CPU)
    found = inside(pair.model, lambda: cast(Any, bare).generate(**prompt, generation_config=words))
    pair.model(**pair.rows(rank)).loss.backward()  # the root is still the whole model
    unshard(pair.model)
    return {"length": found.shape[1] - 3, "is_equal": torch.equal(found, expected)}


def of_saving(family: str, column: str) -> Figures:
    """Gather on the first process alone; weights outside of forward passes are whole as well."""
    pair, rank = Pair(family, column), distributed.get_rank()
    path = pair.backbone.sites[0].producers[0].path
    expected = weight_OI(base_of(pair.kind.bare(pair.plain), path))
    shard(pair.model, pair.blocks(), CPU)
    count = sum(parameter.numel() for parameter in pair.model.parameters())
    is_whole = torch.equal(weight_OI(base_of(pair.kind.bare(pair.model), path)), expected)
    unshard(pair.model, keep=rank == 0)
    frozen = [p for p in pair.model.parameters() if not p.requires_grad]
    return {
        "is_whole": is_whole,
        "counts_all": count == sum(parameter.numel() for parameter in pair.plain.parameters()),
        "bytes": sum(p.nbytes for p in frozen if p.device.type == "cpu"),
        "plain_bytes": local_bytes(pair.plain),
    }


def base_of(bare: nn.Module, path: str) -> nn.Module:
    layer = bare.get_submodule(path)
    return cast(nn.Module, getattr(layer, "base_layer", layer))


CASES: dict[str, Callable[[str, str], Figures]] = {
    "kind": of_a_kind,
    "cycles": of_cycles,
    "half": of_half_precision,
    "generation": of_generation,
    "saving": of_saving,
}


def main() -> None:
    rank, processes, folder, *cases = sys.argv[1:]
    torch.set_num_threads(1)
    store = distributed.FileStore(str(Path(folder) / "store"), int(processes))
    distributed.init_process_group("gloo", store=store, rank=int(rank), world_size=int(processes))
    door.register()
    found = {}
    for case in cases:
        what, family, column = case.split("/")
        try:
            found[case] = CASES[what](family, column)
        except Exception as error:
            found[case] = {"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
    (Path(folder) / f"{rank}.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
