"""What was measured: the importance equations as pure tensor functions, and their container.

Shape suffixes: B batch, T tokens, I input width, O output width, R rank.
Equations: Gu et al., Light-PEFT, Findings of ACL 2024 (arXiv 2406.03792); "reference" is the published code.
"""

from bisect import bisect_left
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import torch


@dataclass(frozen=True)
class Scores:
    """Importance of everything that may be cut; larger stays longer.

    Attributes:
        attn: For each layer, one value per attention group, shape [groups].
        ffn: For each layer, one value per neuron, shape [neurons].
        modules: One value per PEFT module, by its path; empty without PEFT.
        ranks: For each PEFT module, one value per rank, shape [R].
        masks: The learned mask values by `attn.<layer>` or `ffn.<layer>`; what `fold_masks` folds.
    """

    attn: tuple[torch.Tensor, ...]
    ffn: tuple[torch.Tensor, ...]
    modules: dict[str, float] = field(default_factory=dict)
    ranks: dict[str, torch.Tensor] = field(default_factory=dict)
    masks: dict[str, torch.Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert len(self.attn) == len(self.ffn)
        assert list(self.modules) == list(self.ranks)
        for vector in (*self.attn, *self.ffn, *self.ranks.values()):
            assert vector.ndim == 1
            assert torch.isfinite(vector).all(), "scores must be finite"

    def with_least(self, names: Collection[str]) -> "Scores":
        """Return the scores with these PEFT modules below all others."""
        return replace(self, modules={name: -1.0 if name in names else v for name, v in self.modules.items()})

    def leaning(self, depths: Mapping[str, int], weight: float) -> "Scores":
        """Return the scores with each PEFT module's place by importance blended with its place by depth.

        A place is the share of the modules that lie below, from 0 to 1; equal values share one. The blend is
        (1 - weight) * place by importance + weight * place by depth; with a weight of 0 nothing changes.

        Args:
            depths: The layer of each module.
            weight: What depth counts for, in [0, 1].
        """
        if not weight:
            return self
        importance, depth = _places(self.modules), _places({name: depths[name] for name in self.modules})
        blend = {name: (1 - weight) * importance[name] + weight * depth[name] for name in self.modules}
        return replace(self, modules=blend)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return all values as named fp32 tensors, ready for a safetensors file."""
        named = {f"attn.{layer}": vector for layer, vector in enumerate(self.attn)}
        named |= {f"ffn.{layer}": vector for layer, vector in enumerate(self.ffn)}
        named |= {f"module.{name}": torch.tensor(value) for name, value in self.modules.items()}
        named |= {f"rank.{name}": vector for name, vector in self.ranks.items()}
        named |= {f"mask.{name}": vector for name, vector in self.masks.items()}
        return {name: vector.detach().float().cpu().contiguous() for name, vector in named.items()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, torch.Tensor]) -> "Scores":
        """Return the scores that `tensors` returned before."""

        def named(prefix: str) -> dict[str, torch.Tensor]:
            return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}

        attn, ffn, ranks = named("attn."), named("ffn."), named("rank.")
        return cls(
            attn=tuple(attn[str(layer)] for layer in range(len(attn))),
            ffn=tuple(ffn[str(layer)] for layer in range(len(ffn))),
            modules={name: float(tensors[f"module.{name}"]) for name in ranks},
            ranks=ranks,
            masks=named("mask."),
        )


def _places(values: Mapping[str, float]) -> dict[str, float]:
    """Return for each name the share of the others whose value is lower."""
    ordered = sorted(values.values())
    return {name: bisect_left(ordered, value) / max(1, len(ordered) - 1) for name, value in values.items()}


def mask_importance(mask: torch.Tensor, compare: str) -> torch.Tensor:
    """Return the importance of each group from its mask: |m| ("magnitude") or m ("signed", reference)."""
    values = mask.detach().float()
    return values.abs() if compare == "magnitude" else values


def importance_ratio_BT(increment_norm_BT: torch.Tensor, base_norm_BT: torch.Tensor) -> torch.Tensor:
    """Return ||dW x||_2 / ||W0 x + b||_2 of each token, in fp32; a silent base counts as the smallest number."""
    return increment_norm_BT / base_norm_BT.clamp_min(torch.finfo(torch.float32).tiny)


def output_norm_BT(output_BTO: torch.Tensor) -> torch.Tensor:
    """Return the 2-norm over the last axis in fp32, without a gradient."""
    return torch.linalg.vector_norm(output_BTO.detach(), dim=-1, dtype=torch.float32)


@torch.no_grad()
def product_norm_BT(hidden_BTR: torch.Tensor, b_OR: torch.Tensor) -> torch.Tensor:
    """Return ||B h||_2 of each token in fp32, without B h: the square is h^T (B^T B) h, which is R wide.

    The squares are computed in fp64 where the device has it: where the ranks cancel each other, half of the digits
    are lost.
    """
    exact = torch.float32 if b_OR.device.type == "mps" else torch.float64
    wide_b_OR, wide_hidden_BTR = b_OR.to(exact), hidden_BTR.to(exact)
    squares_BT = ((wide_hidden_BTR @ (wide_b_OR.mT @ wide_b_OR)) * wide_hidden_BTR).sum(dim=-1)
    return squares_BT.clamp_min(0).sqrt().float()


def rank_importance_R(
    a_RI: torch.Tensor, a_grad_RI: torch.Tensor, b_OR: torch.Tensor, b_grad_OR: torch.Tensor, rule: str
) -> torch.Tensor:
    """Return the first-order Taylor importance of each rank; NaN and infinity count as 0.

    "taylor" (the published equation): |mean_k A[i,k] gA[i,k]| + |mean_k B[k,i] gB[k,i]|.
    "taylor_abs" (the common alternative): sum_k |A[i,k] gA[i,k]| + sum_k |B[k,i] gB[k,i]|.
    """
    from_a_RI = (a_RI * a_grad_RI).detach().float()
    from_b_OR = (b_OR * b_grad_OR).detach().float()
    if rule == "taylor":
        importance_R = from_a_RI.mean(dim=1).abs() + from_b_OR.mean(dim=0).abs()
    else:
        importance_R = from_a_RI.abs().sum(dim=1) + from_b_OR.abs().sum(dim=0)
    return torch.nan_to_num(importance_R, nan=0.0, posinf=0.0, neginf=0.0)


def lora_gradient_OI(
    a_RI: torch.Tensor, a_grad_RI: torch.Tensor, b_OR: torch.Tensor, b_grad_OR: torch.Tensor
) -> torch.Tensor:
    """Return the change of B A under one unit step of gradient descent, an estimate of the weight's gradient.

    gB A + B gA - gB gA (Zhang et al., LoRAPrune, arXiv 2305.18403, section 3).
    """
    return b_grad_OR @ a_RI + b_OR @ a_grad_RI - b_grad_OR @ a_grad_RI
