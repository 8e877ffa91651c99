"""What is decided: from scores and shares to the groups, modules and ranks that stay.

Pure and deterministic: equal scores and equal rules give equal plans; ties fall to the later layer,
then to the higher index, which are cut first. Section 1 and 2 of the method (arXiv 2406.03792).
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from light_peft.pruning.scores import Scores

Kept = tuple[int, ...]


@dataclass(frozen=True)
class PruneRule:
    """How much is cut and how the share is taken; the fields mean what `prune.*` means.

    With `criterion="layer"` the shares are of whole layers, whose groups all have one score.
    """

    criterion: str = "taylor"
    attn: float = 0.0
    ffn: float = 0.0
    peft_module: float = 0.0
    module_depth: float = 0.0
    peft_rank: float = 0.0
    attn_scope: str = "layer"
    ffn_scope: str = "global"
    rank_scope: str = "global"
    threshold: str = "count"
    round_to: int = 1
    allow_empty: bool = False

    @classmethod
    def of(cls, settings: Any) -> "PruneRule":
        """Return the rule that an object with attributes of these names asks for, such as `config.prune`."""
        return cls(**{name: getattr(settings, name) for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class PruningPlan:
    """The decision, immutable: what stays, as indices into the uncut model.

    Attributes:
        heads: For each layer, the attention groups that stay, ascending.
        neurons: For each layer, the FFN neurons that stay, ascending.
        ranks: For each PEFT module that stays, the ranks that stay, ascending.
        num_heads: For each layer, the number of groups before the cut.
        num_neurons: For each layer, the number of neurons before the cut.
    """

    heads: tuple[Kept, ...]
    neurons: tuple[Kept, ...]
    ranks: dict[str, Kept] = field(default_factory=dict)
    num_heads: tuple[int, ...] = ()
    num_neurons: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for kept, total in zip(self.heads + self.neurons, self.num_heads + self.num_neurons, strict=True):
            assert list(kept) == sorted(set(kept)), "kept indices must be ascending and distinct"
            assert not kept or (kept[0] >= 0 and kept[-1] < total), "kept index outside the layer"
        assert all(self.ranks.values()), "a module without ranks must not be in the plan"

    def kept(self, kind: str, layer: int) -> Kept:
        """Return the groups of a site that stay."""
        return (self.heads if kind == "attn" else self.neurons)[layer]

    def without(self, modules: set[str]) -> "PruningPlan":
        """Return the plan with these PEFT modules removed too."""
        return replace(self, ranks={name: kept for name, kept in self.ranks.items() if name not in modules})

    def agreement(self, other: "PruningPlan") -> dict[str, float]:
        """Return the Jaccard index of what two plans keep, of heads, neurons and ranks each, in [0, 1]."""
        mine, theirs = self._kept_sets(), other._kept_sets()
        return {name: len(kept & theirs[name]) / len(kept | theirs[name]) for name, kept in mine.items() if kept}

    def _kept_sets(self) -> dict[str, set[tuple[Any, int]]]:
        named = {"attn": enumerate(self.heads), "ffn": enumerate(self.neurons), "rank": self.ranks.items()}
        return {kind: {(where, index) for where, kept in layers for index in kept} for kind, layers in named.items()}

    def summary(self, everything: "PruningPlan") -> dict[str, Any]:
        """Return how much stays beside how much there was, as the record of a run shows it."""
        return {
            "heads": [len(kept) for kept in self.heads],
            "heads_before": list(self.num_heads),
            "ffn": [len(kept) for kept in self.neurons],
            "ffn_before": list(self.num_neurons),
            "ranks": {path: len(kept) for path, kept in self.ranks.items()},
            "modules_before": len(everything.ranks),
            "ranks_before": sum(map(len, everything.ranks.values())),
        }

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain JSON values."""
        return {
            "heads": [list(kept) for kept in self.heads],
            "neurons": [list(kept) for kept in self.neurons],
            "ranks": {name: list(kept) for name, kept in self.ranks.items()},
            "num_heads": list(self.num_heads),
            "num_neurons": list(self.num_neurons),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "PruningPlan":
        """Return the plan that `to_json` wrote.

        Raises:
            KeyError: If a field is missing.
        """
        return cls(
            heads=tuple(tuple(kept) for kept in values["heads"]),
            neurons=tuple(tuple(kept) for kept in values["neurons"]),
            ranks={name: tuple(kept) for name, kept in values["ranks"].items()},
            num_heads=tuple(values["num_heads"]),
            num_neurons=tuple(values["num_neurons"]),
        )


def keep_all(num_heads: list[int], num_neurons: list[int], ranks: dict[str, int]) -> PruningPlan:
    """Return the plan that cuts nothing."""
    return PruningPlan(
        heads=tuple(tuple(range(count)) for count in num_heads),
        neurons=tuple(tuple(range(count)) for count in num_neurons),
        ranks={name: tuple(range(rank)) for name, rank in ranks.items()},
        num_heads=tuple(num_heads),
        num_neurons=tuple(num_neurons),
    )


def check_feasible(rule: PruneRule, everything: PruningPlan) -> None:
    """Hold the shares against the sizes of a model, before anything has been measured.

    Raises:
        ValueError: If an exact share would empty a layer, or leave no PEFT module; `make_plan` would
            refuse it after estimation. What a quantile cuts depends on the scores and is not foreseen.
    """
    if rule.threshold == "quantile":
        return
    equal = Scores(
        attn=tuple(torch.ones(count) for count in everything.num_heads),
        ffn=tuple(torch.ones(count) for count in everything.num_neurons),
        modules=dict.fromkeys(everything.ranks, 1.0),
        ranks={name: torch.ones(len(kept)) for name, kept in everything.ranks.items()},
    )
    make_plan(equal, rule)


def make_plan(scores: Scores, rule: PruneRule) -> PruningPlan:
    """Decide what stays.

    Raises:
        ValueError: If a layer would lose all its heads or neurons and `allow_empty` is false, or if
            no PEFT module would stay.
    """
    return PruningPlan(
        heads=kept_groups(scores, rule, "attn"),
        neurons=kept_groups(scores, rule, "ffn"),
        ranks=_keep_ranks(scores, _keep_modules(scores, rule), rule),
        num_heads=tuple(map(len, scores.attn)),
        num_neurons=tuple(map(len, scores.ffn)),
    )


def kept_groups(scores: Scores, rule: PruneRule, kind: str) -> tuple[Kept, ...]:
    """Decide what stays of the heads ("attn") or of the neurons ("ffn"), layer by layer.

    Raises:
        ValueError: If a layer would lose everything and `allow_empty` is false.
    """
    layers, share, key = [_float64(values) for values in getattr(scores, kind)], getattr(rule, kind), f"prune.{kind}"
    if rule.criterion == "layer":
        return _keep_layers(layers, share, key)
    if kind == "attn":
        return _keep_groups(layers, share, rule.attn_scope, rule, key=key)
    return _keep_groups(layers, share, rule.ffn_scope, rule, key=key, block=rule.round_to)


def _float64(values: torch.Tensor) -> np.ndarray:
    """The quantile of the published code moves heads when computed in float32; in float64 it is exact."""
    return values.detach().double().cpu().numpy()


def _keep_groups(
    layers: list[np.ndarray], share: float, scope: str, rule: PruneRule, *, key: str, block: int = 1
) -> tuple[Kept, ...]:
    pools = [[layer] for layer in range(len(layers))] if scope == "layer" else [list(range(len(layers)))]
    kept: list[Kept] = [()] * len(layers)
    for pool in pools:
        vectors = [layers[layer] for layer in pool]
        if rule.threshold == "quantile":
            chosen = _above_quantile(vectors, share)
        else:
            chosen = _best_blocks(vectors, share, block, at_least_one=not rule.allow_empty, key=key)
        for layer, indices in zip(pool, chosen, strict=True):
            kept[layer] = indices
    empty = [layer for layer, indices in enumerate(kept) if not indices]
    if empty and not rule.allow_empty:
        raise ValueError(f"{key}={share:g} would leave layers {empty} empty; lower it or set prune.allow_empty=true")
    return tuple(kept)


def _keep_layers(layers: list[np.ndarray], share: float, key: str) -> tuple[Kept, ...]:
    """Keep all groups of the layers that score best; the number of layers is the nearest to the share."""
    influence = np.array([layer.mean() for layer in layers])
    kept = set(_best_blocks([influence], share, 1, at_least_one=True, key=key)[0])
    return tuple(tuple(range(len(layer))) if index in kept else () for index, layer in enumerate(layers))


def _above_quantile(vectors: list[np.ndarray], share: float) -> list[Kept]:
    """Keep what is strictly above the pooled quantile, as the published code does; ties are cut together.

    A share of 0 keeps everything: there the published code never builds a threshold.
    """
    if share == 0:
        return [tuple(range(len(vector))) for vector in vectors]
    threshold = np.quantile(np.concatenate(vectors), share)
    return [tuple(np.flatnonzero(vector > threshold).tolist()) for vector in vectors]


def _best_blocks(vectors: list[np.ndarray], share: float, block: int, *, at_least_one: bool, key: str) -> list[Kept]:
    """Keep the best blocks of `block` groups over all vectors; the total is as near the share as blocks allow.

    In each vector the groups are ranked and dealt into blocks of falling score, so any choice of best
    blocks keeps the best groups of each vector; block = 1 is the plain ranking.
    """
    orders = [np.argsort(-vector, kind="stable") for vector in vectors]
    starts = [np.arange(0, len(order), block) for order in orders]
    total = sum(len(vector) for vector in vectors)
    target = total - math.floor(share * total + 0.5)
    if at_least_one and target < len(vectors):
        raise ValueError(
            f"{key}={share:g} leaves {target} of {total} groups for {len(vectors)} layer(s), so a layer would be "
            f"empty; at most {1 - len(vectors) / total:.4g} is possible here, or set prune.allow_empty=true"
        )
    means = [_block_means(vector[order], block) for vector, order in zip(vectors, orders, strict=True)]
    index, start = np.repeat(np.arange(len(vectors)), [len(each) for each in starts]), np.concatenate(starts)
    size = np.minimum(block, np.array([len(vector) for vector in vectors])[index] - start)
    free = (start > 0) if at_least_one else np.full(len(start), True)
    best = np.lexsort((start, index, -np.concatenate(means), free))
    after = np.cumsum(size[best])
    beyond = free[best] & (2 * after - size[best] > 2 * target)  # nearer to the target without this block
    taken = best[: int(beyond.argmax()) if beyond.any() else len(best)]
    widths = np.bincount(index[taken], weights=size[taken], minlength=len(vectors)).astype(int).tolist()
    return [tuple(np.sort(order[:width]).tolist()) for order, width in zip(orders, widths, strict=True)]


def _block_means(falling: np.ndarray, block: int) -> np.ndarray:
    """Return the mean of each block of a ranked vector; the last one may be smaller."""
    if block == 1:
        return falling
    return np.array([falling[start : start + block].mean() for start in range(0, len(falling), block)])


def _keep_modules(scores: Scores, rule: PruneRule) -> list[str]:
    names = list(scores.modules)
    values = np.array([scores.modules[name] for name in names], dtype=np.float64)
    kept = [names[index] for index in _keep_pool([values], rule.peft_module, rule, "prune.peft_module")[0]]
    if names and not kept:
        raise ValueError(f"prune.peft_module={rule.peft_module:g} would remove every PEFT module; lower it")
    return kept


def _keep_ranks(scores: Scores, modules: list[str], rule: PruneRule) -> dict[str, Kept]:
    vectors = [_float64(scores.ranks[name]) for name in modules]
    pools = [[vector] for vector in vectors] if rule.rank_scope == "module" else [vectors]
    kept = [ranks for pool in pools for ranks in _keep_pool(pool, rule.peft_rank, rule, "prune.peft_rank")]
    if modules and not any(kept):
        raise ValueError(f"prune.peft_rank={rule.peft_rank:g} would cut every rank of every PEFT module; lower it")
    return {name: ranks for name, ranks in zip(modules, kept, strict=True) if ranks}


def _keep_pool(vectors: list[np.ndarray], share: float, rule: PruneRule, key: str) -> list[Kept]:
    if not any(map(len, vectors)):
        return [()] * len(vectors)
    if rule.threshold == "quantile":
        return _above_quantile(vectors, share)
    return _best_blocks(vectors, share, 1, at_least_one=False, key=key)
