"""What a cut shall reach, and the shares that reach it at the least loss of importance.

Pure and deterministic. The cost of a model is linear in what stays: each head and each neuron of a layer has its
price, whatever it is measured in (seconds, bytes, parameters).
"""

import math
from bisect import bisect_left
from dataclasses import dataclass, replace
from typing import Any

import torch

from light_peft.pruning.plan import Kept, PruneRule, kept_groups
from light_peft.pruning.scores import Scores

EQUAL = 1e-12
"""Losses that are no further apart are equal: sums of the same values in another order are not so to the bit."""


@dataclass(frozen=True)
class Target:
    """What is asked for.

    Attributes:
        name: speedup (cost before over cost after) | memory | blocks (cost after over cost before).
        asked: The ratio to reach.
    """

    name: str
    asked: float

    @classmethod
    def of(cls, settings: Any) -> "Target | None":
        """Return the target that an object with attributes of these names sets, such as `config.prune.target`."""
        asked = {"speedup": settings.speedup, "memory": settings.memory, "blocks": settings.blocks}
        found = [cls(name, value) for name, value in asked.items() if value is not None]
        assert len(found) < 2
        return found[0] if found else None

    def limit(self, before: float) -> float:
        """Return the highest cost that reaches the target."""
        return before / self.asked if self.name == "speedup" else before * self.asked

    def ratio(self, before: float, after: float) -> float:
        """Return what these costs are as a ratio of the target's kind."""
        return before / after if self.name == "speedup" else after / before


@dataclass(frozen=True)
class CostModel:
    """What the model costs, and what its parts cost.

    Attributes:
        before: The cost as it stands.
        whole: The cost with the PEFT that will be left and all heads and neurons.
        attn: For each layer, the cost of one attention group.
        ffn: For each layer, the cost of one neuron.
    """

    before: float
    whole: float
    attn: tuple[float, ...]
    ffn: tuple[float, ...]


@dataclass(frozen=True)
class Shares:
    """The shares of heads and neurons to cut, and the ratio that the cost model predicts of them."""

    attn: float
    ffn: float
    predicted: float

    def of(self, rule: PruneRule) -> PruneRule:
        """Return `rule` with these shares."""
        return replace(rule, attn=self.attn, ffn=self.ffn)


def find_shares(target: Target, costs: CostModel, scores: Scores, rule: PruneRule) -> Shares:
    """Return the shares that reach the target and lose the least importance, of heads and neurons together.

    The loss of each kind is its share of that kind's total, what is below 0 counted as 0. All counts of heads are
    tried, each with the fewest neurons that reach the target; of equal losses the one with fewer heads cut is taken.
    Where whole layers are cut (`criterion="layer"`), the fewest that reach the target.

    Raises:
        ValueError: If no shares that leave every layer what it must keep reach the target.
    """
    heads, neurons = _Kind("attn", costs.attn, scores, rule), _Kind("ffn", costs.ffn, scores, rule)
    need = costs.whole - target.limit(costs.before)
    pair = (_whole_layers if rule.criterion == "layer" else _least_loss)(heads, neurons, need)
    saved = [kind.saved(cut) for kind, cut in zip((heads, neurons), pair or (heads.most, neurons.most), strict=True)]
    ratio = target.ratio(costs.before, costs.whole - sum(saved))
    if pair is None:
        raise ValueError(
            f"prune.target.{target.name}={target.asked:g}: {ratio:.3g} is the best that can be reached here, with attn "
            f"{heads.share(heads.most):.3g} and ffn {neurons.share(neurons.most):.3g} cut; ask for less, cut more PEFT "
            "modules (prune.peft_module, prune.module_depth), or let layers lose all (prune.allow_empty=true)"
        )
    return Shares(heads.share(pair[0]), neurons.share(pair[1]), ratio)


class _Kind:
    """Heads or neurons: what is saved and what is lost by a cut, the shares counted in groups.

    Attributes:
        most: The largest cut that the rule allows, in groups.
    """

    def __init__(self, kind: str, prices: tuple[float, ...], scores: Scores, rule: PruneRule) -> None:
        self._kind, self._prices, self._scores, self._rule = kind, prices, scores, rule
        self._values = [values.detach().double().cpu().clamp_min(0) for values in getattr(scores, kind)]
        self._total = math.fsum(float(values.sum()) for values in self._values)
        counts = [len(values) for values in self._values]
        in_layers = getattr(rule, f"{kind}_scope") == "layer"
        self._grid = len(counts) if rule.criterion == "layer" else max(counts) if in_layers else sum(counts)
        self._known: dict[int, tuple[float, float] | None] = {}
        self.most = bisect_left(range(self._grid), True, key=lambda cut: self._at(cut) is None) - 1

    def share(self, cut: int) -> float:
        """Return the share that `prune.*` would say."""
        return cut / self._grid

    def saved(self, cut: int) -> float:
        """Return the cost that a cut of up to `most` takes away."""
        known = self._at(cut)
        assert known is not None
        return known[0]

    def lost(self, cut: int) -> float:
        """Return the share of the importance that a cut of up to `most` takes away, in [0, 1]."""
        known = self._at(cut)
        assert known is not None
        return known[1]

    def fewest(self, need: float) -> int | None:
        """Return the smallest cut that saves `need`; None if none does."""
        cut = bisect_left(range(self.most + 1), need, key=self.saved)
        return cut if cut <= self.most else None

    def _at(self, cut: int) -> tuple[float, float] | None:
        """Return what is saved and what is lost; None if the rule refuses the cut."""
        if cut not in self._known:
            share = self.share(cut)
            rule = replace(self._rule, attn=share) if self._kind == "attn" else replace(self._rule, ffn=share)
            try:
                self._known[cut] = self._of(kept_groups(self._scores, rule, self._kind))
            except ValueError:
                self._known[cut] = None
        return self._known[cut]

    def _of(self, kept: tuple[Kept, ...]) -> tuple[float, float]:
        pairs = list(zip(self._values, kept, strict=True))
        gone = [len(values) - len(left) for values, left in pairs]
        saved = math.fsum(price * number for price, number in zip(self._prices, gone, strict=True))
        lost = math.fsum(float(values.index_fill(0, torch.tensor(left).long(), 0).sum()) for values, left in pairs)
        return saved, lost / self._total if self._total else 0.0


def _least_loss(heads: _Kind, neurons: _Kind, need: float) -> tuple[int, int] | None:
    best: tuple[float, tuple[int, int]] | None = None
    for cut in range(heads.most + 1):
        lost = heads.lost(cut)
        if best is not None and lost >= best[0]:
            break  # cutting more heads loses more still
        if (fewest := neurons.fewest(need - heads.saved(cut))) is None:
            continue
        lost += neurons.lost(fewest)
        if best is None or lost < best[0] - EQUAL:
            best = lost, (cut, fewest)
    return best[1] if best is not None else None


def _whole_layers(heads: _Kind, neurons: _Kind, need: float) -> tuple[int, int] | None:
    reaching = (cut for cut in range(heads.most + 1) if heads.saved(cut) + neurons.saved(cut) >= need)
    return next(((cut, cut) for cut in reaching), None)
