"""What a training step costs on this machine, and what of it a head and a neuron cost, measured or counted.

Measured is on copies that share the frozen weights, on a batch of the run's own data: whole steps, and one block at
full width, with half its heads and with half its neurons. Between those widths the cost is taken as a straight line.
"""

import copy
import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from transformers import PreTrainedModel

from light_peft.backward_memory import saved_for_backward
from light_peft.data.batches import Batch
from light_peft.model import Backbone, Site
from light_peft.model.cut import width_out_in
from light_peft.peft_modules import PeftKind
from light_peft.pruning.budget import CostModel
from light_peft.pruning.plan import PruningPlan
from light_peft.pruning.surgery import cut_backbone, plan_cuts
from light_peft.training.loop import Loss
from light_peft.training.optim import build_optimizer, trainable_groups

MIN_ROUNDS, MAX_ROUNDS, SECONDS = 3, 15, 3.0
"""Each step is timed so often at least and at most, and no longer than this together behind the fewest rounds."""


@dataclass(frozen=True)
class Specimen:
    """Something that is done again and again: its weights are those of `module`."""

    module: nn.Module
    step: Callable[[], None]


class Probe:
    """Measures what models of one run cost."""

    def __init__(self, kind: PeftKind, backbone: Backbone, accelerator: Accelerator, batch: Batch, loss: Loss) -> None:
        """Measure on `batch`, which is where the models are."""
        self._kind, self._backbone, self._accelerator = kind, backbone, accelerator
        self._batch, self._loss = batch, loss

    def cost(self, target: str, model: nn.Module) -> float:
        """Return the cost of a training step, forward, backward and optimizer, which leaves `model` as it is.

        Args:
            target: speedup: seconds; memory: bytes of the weights and of what is kept for the backward pass.
            model: A model with PEFT.
        """
        with torch.random.fork_rng():
            (cost,) = self._costs_of(target, [self._training(light_copy(model))])
        return cost

    def costs(self, target: str, model: nn.Module, plan: PruningPlan) -> CostModel:
        """Return what a training step costs now, and with the PEFT of `plan`, which keeps all heads and neurons.

        A layer below the lowest one that trains only computes forwards; its prices are measured so.
        """
        layers = range(self._backbone.num_layers)
        lowest = min(map(self._backbone.layer_of, plan.ranks), default=-1)
        modes = sorted({layer >= lowest for layer in layers})
        usual = self._usual_layer(plan, lowest)
        thinner = [self._half(plan, site) for site in self._backbone.sites if site.layer == usual]
        with torch.random.fork_rng():
            # Without modules on Linears the PEFT around the blocks is left out: a prefix fits equal layers alone.
            plans = (plan, *(each for each, _ in thinner))
            models = [self._cut_copy(model, each, dressed=bool(plan.ranks)) for each in plans]
            blocks = [self._block(each, usual, trains=trains) for trains, each in product(modes, models)]
            wholes = [self._training(each) for each in (light_copy(model), self._cut_copy(model, plan, dressed=True))]
            before, whole, *of_blocks = self._costs_of(target, [*wholes, *blocks])
        prices: dict[bool, list[float]] = {}
        for index, trains in enumerate(modes):
            full, *thin = of_blocks[index * len(models) : (index + 1) * len(models)]
            each = zip(thin, thinner, strict=True)
            prices[trains] = [max(0.0, full - cost) / gone if gone else 0.0 for cost, (_, gone) in each]
        attn, ffn = (tuple(prices[layer >= lowest][kind] for layer in layers) for kind in (0, 1))
        return CostModel(before, whole, attn, ffn)

    def _costs_of(self, target: str, specimens: Sequence[Specimen]) -> list[float]:
        if target == "memory":
            return [float(held_bytes(specimen)) for specimen in specimens]
        return least_seconds([specimen.step for specimen in specimens], self._accelerator.device)

    def _usual_layer(self, plan: PruningPlan, lowest: int) -> int:
        """Return the layer, of those that train, whose number of modules is nearest to their mean; else the upper."""
        modules = Counter(map(self._backbone.layer_of, plan.ranks))
        trained = range(max(0, lowest), self._backbone.num_layers)
        mean = statistics.mean(modules[layer] for layer in trained)
        return min(reversed(trained), key=lambda layer: abs(modules[layer] - mean))

    def _half(self, plan: PruningPlan, site: Site) -> tuple[PruningPlan, int]:
        """Return the plan with half of the groups of one site, and how many that cuts."""
        kept = list(plan.heads if site.kind == "attn" else plan.neurons)
        kept[site.layer] = tuple(range((site.count + 1) // 2))
        left = tuple(kept)
        return replace(plan, heads=left) if site.kind == "attn" else replace(plan, neurons=left), site.count // 2

    def _cut_copy(self, model: nn.Module, plan: PruningPlan, *, dressed: bool) -> nn.Module:
        """Return a copy cut along `plan`, with its PEFT if `dressed`."""
        bare, adapter = self._kind.take_off(light_copy(model))
        cuts = plan_cuts(self._backbone, plan)
        if dressed:
            adapter = self._kind.cut(adapter, bare, plan.ranks, cuts)
        cut_backbone(bare, self._backbone, plan, cuts)
        copied = self._kind.put_on(bare, adapter) if dressed else bare
        return copied.to(self._accelerator.device).train()

    def _training(self, model: nn.Module) -> Specimen:
        """Return a step of training that moves nothing: its learning rate is 0."""
        optimizer = build_optimizer(trainable_groups(model, 0.0, 0.0))

        def step() -> None:
            with self._accelerator.autocast():
                loss = self._loss(model, self._batch)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        return Specimen(model, step)

    def _block(self, model: nn.Module, layer: int, *, trains: bool) -> Specimen:
        """Return one block on what it gets in a forward pass: forward and, if something trains, backward."""
        bare = model if isinstance(model, PreTrainedModel) else self._kind.bare(model)
        block = bare.get_submodule(self._backbone.blocks[layer])
        args, kwargs = self._inputs(model, block)
        hidden = (args[0] if args else kwargs.pop("hidden_states")).requires_grad_(trains)
        leaves = [hidden, *(parameter for parameter in block.parameters() if parameter.requires_grad)]

        def step() -> None:
            fresh = {name: copy.deepcopy(value) for name, value in kwargs.items()}  # a cache would grow
            with self._accelerator.autocast(), torch.set_grad_enabled(trains):
                output = block(hidden, *args[1:], **fresh)
            if trains:
                output = output[0] if isinstance(output, tuple) else output
                output.backward(torch.ones_like(output))
                for leaf in leaves:
                    leaf.grad = None

        return Specimen(block, step)

    @torch.no_grad()
    def _inputs(self, model: nn.Module, block: nn.Module) -> tuple[tuple[Any, ...], dict[str, Any]]:
        seen: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

        def see(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seen.append(copy.deepcopy((args, kwargs)))

        handle = block.register_forward_pre_hook(see, with_kwargs=True)
        with self._accelerator.autocast():
            self._loss(model, self._batch)
        handle.remove()
        return seen[-1]


def light_copy(model: nn.Module) -> nn.Module:
    """Return a copy in training mode that has what trains for itself and shares the frozen weights."""
    frozen: dict[int, Any] = {
        id(parameter): parameter for parameter in model.parameters() if not parameter.requires_grad
    }
    return copy.deepcopy(model, frozen).train()


def least_seconds(steps: Sequence[Callable[[], None]], device: torch.device) -> list[float]:
    """Return the seconds of each step at its fastest; they take turns, behind one round that is not measured.

    What else a machine does only ever makes a step slower, and the prices are small differences of steps.
    """
    for step in steps:
        step()
    least = [math.inf] * len(steps)
    end = time.perf_counter() + SECONDS
    for number in range(MAX_ROUNDS):
        if number >= MIN_ROUNDS and time.perf_counter() > end:
            break
        least = [min(so_far, seconds_of(step, device)) for so_far, step in zip(least, steps, strict=True)]
    return least


def seconds_of(step: Callable[[], None], device: torch.device) -> float:
    """Return how long a step takes, what it leaves the device to do included."""
    wait = torch.get_device_module(device).synchronize
    wait()
    began = time.perf_counter()
    step()
    wait()
    return time.perf_counter() - began


def held_bytes(specimen: Specimen) -> int:
    """Return the bytes of the weights and of what one step keeps for the backward pass."""
    with saved_for_backward(specimen.module.parameters()) as saved:
        specimen.step()
    weights = (*specimen.module.parameters(), *specimen.module.buffers())
    return sum(tensor.nbytes for tensor in weights) + saved.peak


def counted_costs(model: nn.Module, backbone: Backbone, blocks: int) -> CostModel:
    """Return the parameters of the blocks, `blocks` in all, as costs; `model` is the bare one, uncut."""
    attn, ffn = (tuple(group_parameters(model, site) for site in backbone.sites_of(kind)) for kind in ("attn", "ffn"))
    return CostModel(float(blocks), float(blocks), attn, ffn)


def group_parameters(model: nn.Module, site: Site) -> int:
    """Return the parameters that one group of a site has in a model that is not cut, PEFT left out."""
    number = 0
    for port in site.ports:
        layer = model.get_submodule(port.path)
        linear = getattr(layer, "base_layer", layer)
        outputs, inputs = width_out_in(linear)
        is_consumer = port is site.consumer
        number += port.size * port.sections * (outputs if is_consumer else inputs)
        number += port.size * port.sections * (getattr(linear, "bias", None) is not None and not is_consumer)
    return number
