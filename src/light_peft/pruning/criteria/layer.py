"""`layer`: whole layers by depth, the baseline of its own kind.

Shape suffixes: B batch, T tokens, D model width, L layers.
"""

from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from light_peft.pruning.criteria.criterion import Criterion, GroupScores, Subject, with_virtual_tokens


class BlockInfluence(Criterion):
    """1 - cos(what enters a block, what leaves it), averaged over the tokens, for all groups of the block.

    Men et al., ShortGPT, arXiv 2403.03853. The plan then cuts all groups of the least
    influential blocks; in a post-norm model the norms of such a block stay.
    """

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self._cosines_LBT: list[torch.Tensor] = [torch.empty(0)] * subject.backbone.num_layers
        device = next(subject.model.parameters()).device
        self._sum_L = torch.zeros(subject.backbone.num_layers, device=device)
        self._count = torch.zeros((), device=device)

    def hooks(self) -> list[RemovableHandle]:
        """Compare input and output of every block."""
        blocks = [self.subject.model.get_submodule(path) for path in self.subject.backbone.blocks]
        return [block.register_forward_hook(self._sink(layer), with_kwargs=True) for layer, block in enumerate(blocks)]

    def after_forward(self, tokens_BT: torch.Tensor) -> None:
        """Add up 1 - cos over the tokens of the batch."""
        weights_BT = with_virtual_tokens(tokens_BT, self._cosines_LBT[0].numel()).float()
        self._sum_L += torch.stack([((1 - cos_BT) * weights_BT).sum() for cos_BT in self._cosines_LBT])
        self._count += weights_BT.sum()

    def of_step(self) -> GroupScores:
        """Return the influence of each site's block, the same for all its groups."""
        sum_L, count = self.subject.sums(self._sum_L, self._count)
        influence_L = sum_L / count
        self._sum_L, self._count = torch.zeros_like(self._sum_L), torch.zeros_like(self._count)
        return [influence_L[site.layer].expand(site.count) for site in self.subject.sites]

    def importance(self, means: GroupScores) -> GroupScores:
        """Return the means."""
        return means

    def _sink(self, layer: int) -> Any:
        def compare(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            if not torch.is_grad_enabled():
                return
            before_BTD = args[0] if args else kwargs["hidden_states"]
            after_BTD = output[0] if isinstance(output, tuple) else output
            pair = (before_BTD.detach().float(), after_BTD.detach().float())
            self._cosines_LBT[layer] = torch.nn.functional.cosine_similarity(*pair, dim=-1)

        return compare


CRITERION = BlockInfluence
