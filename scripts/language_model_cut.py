"""How much a language model loses when a quarter of it is cut: by importance, and at random.

    python scripts/language_model_cut.py FOLDER [TEXT_FILE]

FOLDER holds a causal language model and its tokenizer, TEXT_FILE a text (a few simple stories by default): importance
is measured on every other paragraph of it, the loss on the rest. A quarter of the heads (with grouped queries: of the
key/value groups) of each layer goes, and a quarter of all neurons. Importance is |m * dL/dm| of masks m = 1, summed
over the tokens (Molchanov et al., Importance Estimation for Neural Network Pruning, CVPR 2019; one backward pass per
token, so that what helps here and harms there does not cancel). Prints the mean loss per token of the dense, the
masked, the cut, and the randomly cut model.

Shape suffixes: T tokens, P predicted tokens (T - 1), V vocabulary; 1 a batch of one.
"""

import copy
import statistics
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from light_peft.model import Backbone, describe
from light_peft.pruning.masks import masked
from light_peft.pruning.plan import PruneRule, PruningPlan, make_plan
from light_peft.pruning.scores import Scores
from light_peft.pruning.surgery import cut_backbone, plan_cuts
from light_peft.runtime import quiet_libraries
from matrix import random_scores

RULE = PruneRule(attn=0.25, ffn=0.25)
RANDOM_SEEDS = range(8)
TOKENS_AT_ONCE = 32
"""Tokens whose gradients are computed together."""
STORIES = """
Once upon a time, there was a little girl named Lily. She had a small red ball. Every day she went to the park with
her mom and played with the ball. One day, the ball rolled under a big tree. Lily looked and looked, but she could not
see it. She was very sad. Then a little dog came and found the ball. Lily smiled and said, "Thank you, little dog!"
They played together all day and became good friends.

Tom was a happy boy who loved to run. He lived in a small house near the sea. One morning, Tom saw a big blue boat on
the water. "Mom, look at the boat!" he said. His mom smiled and said, "Do you want to go and see it?" Tom was so happy
that he jumped up and down. They walked to the sea and saw a kind man. The man let Tom sit in the boat. Tom said, "I
want to be a boat man when I am big." When they got home, Tom told his dad all about it and went to bed.

One day, a cat named Max wanted to climb a tall tree. His friend, a bird, said, "Be careful, Max! The tree is very
tall." But Max did not listen. He went up and up. When he looked down, he was scared and started to cry. The bird
flew to the house and called for help. A nice old man came with a ladder and helped Max to get down. Max was safe. He
said, "I am sorry. Next time I will listen to my friend." From that day on, Max and the bird always helped each other.

There was a little bear who lived in the forest. He liked to eat honey and sleep in the sun. One day it was very cold
and the snow began to fall. The bear had no food and his house was cold. He asked a rabbit, "Can you help me?" The
rabbit gave him some bread and a warm blanket. The bear was happy and gave the rabbit a big hug. They sat by the fire
and told stories until the night came.

Anna and Ben went to the garden with their grandma. They saw many flowers and a big yellow butterfly. Ben wanted to
catch it, but Anna said, "No, Ben, the butterfly wants to be free." Grandma said that Anna was right. They sat on the
grass and watched it fly up into the sky. Then they ate cake and drank milk. It was a good day, and they were happy.

Sam had a toy truck. It was green and very fast. One day, Sam took his truck to school to show his friends. A boy named
Jack wanted to play with it, but Sam said no. Jack was sad and sat alone. Sam saw him and felt bad. He went to Jack and
said, "I am sorry. We can share my truck." Jack smiled. They played with the truck until it was time to go home.

Once there was a duck who could not swim. All the other ducks swam in the pond, but she stayed on the grass. A frog saw
her and asked, "Why do you not swim?" The duck said, "I am scared of the water." The frog held her wing and they went in
slowly. At first she was afraid, but then she began to swim. "Look, I can do it!" she said. All the ducks were proud.

Mia and her dad wanted to make a cake. They put eggs, milk and sugar in a big bowl. Mia mixed it with a spoon. Some of
it fell on the floor, and the dog ate it. Dad laughed. They put the cake in the oven and waited. When it was done, the
house smelled very good. Mia gave a piece of the cake to her brother. He said, "Yum! This is the best cake."

It was raining and Lucy could not go outside. She looked out of the window and felt bored. Her mom gave her paper and
some crayons. Lucy drew a big sun, a house and a tree. Then she saw that the rain had stopped. There was a rainbow in
the sky with many colors. Lucy ran outside and jumped in the water. She was wet, but she was very happy.

A little mouse found a shiny key on the ground. He did not know what it was for. He asked the cow, but the cow did not
know. He asked the horse, but the horse did not know. Then he met a wise old owl. The owl said, "This key opens the box
under the tree." The mouse ran to the tree and opened the box. It was full of cheese! He shared it with all his friends.
"""


def stories_of(text: str, folder: str) -> list[torch.Tensor]:
    """Return the token ids [1, T] of each paragraph of a text.

    Raises:
        ValueError: If it has less than two.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n")]
    if len(paragraphs) < 2:
        raise ValueError("the text has one paragraph, must have two or more, with blank lines between them")
    return [torch.tensor([tokenizer(paragraph)["input_ids"]]) for paragraph in paragraphs]


def token_losses_P(model: PreTrainedModel, story_1T: torch.Tensor) -> torch.Tensor:
    """Return the loss of every predicted token of a story, with a gradient."""
    logits_PV = model(input_ids=story_1T, use_cache=False).logits[0, :-1]
    return torch.nn.functional.cross_entropy(logits_PV, story_1T[0, 1:], reduction="none")


@torch.no_grad()
def mean_loss(model: PreTrainedModel, stories: list[torch.Tensor]) -> float:
    """Return the mean loss per predicted token of all stories."""
    return float(torch.cat([token_losses_P(model, story_1T) for story_1T in stories]).mean())


def taylor_scores(model: PreTrainedModel, backbone: Backbone, stories: list[torch.Tensor]) -> Scores:
    """Return |m * dL/dm| of every group, summed over the predicted tokens; `model` stays as it is."""
    model.requires_grad_(False)
    with masked(model, backbone.sites) as masks:
        totals = {mask: torch.zeros(len(mask)) for mask in masks.masks.values()}
        for story_1T in stories:
            losses_P = token_losses_P(model, story_1T)
            rows_PP = torch.eye(len(losses_P))
            for rows in rows_PP.split(TOKENS_AT_ONCE):
                gradients = torch.autograd.grad(losses_P, [*totals], rows, retain_graph=True, is_grads_batched=True)
                for mask, gradient in zip(totals, gradients, strict=True):
                    totals[mask] += (mask.detach() * gradient).abs().sum(dim=0)
    attn, ffn = (tuple(totals[masks.masks[site]] for site in backbone.sites_of(kind)) for kind in ("attn", "ffn"))
    return Scores(attn, ffn)


@torch.no_grad()
def masked_loss(model: PreTrainedModel, backbone: Backbone, plan: PruningPlan, stories: list[torch.Tensor]) -> float:
    """Return the loss with the groups outside the plan multiplied by 0."""
    with masked(model, backbone.sites) as masks:
        masks.zero_except({site: plan.kept(site.kind, site.layer) for site in backbone.sites}, keep_values=False)
        return mean_loss(model, stories)


def cut_copy(model: PreTrainedModel, backbone: Backbone, plan: PruningPlan) -> PreTrainedModel:
    """Return a copy of `model` that has been cut along the plan."""
    smaller = copy.deepcopy(model)
    cut_backbone(smaller, backbone, plan, plan_cuts(backbone, plan))
    return smaller


def cut_loss(model: PreTrainedModel, backbone: Backbone, plan: PruningPlan, stories: list[torch.Tensor]) -> float:
    """Return the loss of a copy of `model` that has been cut along the plan."""
    return mean_loss(cut_copy(model, backbone, plan), stories)


def losses(model: PreTrainedModel, stories: list[torch.Tensor]) -> dict[str, list[float]]:
    """Return the losses of the dense, the masked, the cut, and (one per seed) the randomly cut model."""
    backbone = describe(model)
    measured, stories = stories[::2], stories[1::2]
    plan = make_plan(taylor_scores(model, backbone, measured), RULE)
    at_random = [make_plan(random_scores(backbone, {}, seed), RULE) for seed in RANDOM_SEEDS]
    return {
        "dense": [mean_loss(model, stories)],
        "masked": [masked_loss(model, backbone, plan, stories)],
        "cut": [cut_loss(model, backbone, plan, stories)],
        "random": [cut_loss(model, backbone, other, stories) for other in at_random],
    }


def load(folder: str) -> PreTrainedModel:
    """Return the language model in a folder, in fp32; only its plain attention gives many gradients at once."""
    settings = {"local_files_only": True, "dtype": torch.float32, "attn_implementation": "eager"}
    return AutoModelForCausalLM.from_pretrained(folder, **settings).eval()


def main(words: list[str]) -> int:
    """Print a line per model."""
    if not 1 <= len(words) <= 2:
        print(__doc__)
        return 2
    quiet_libraries()
    text = Path(words[1]).read_text(encoding="utf-8") if len(words) == 2 else STORIES
    stories = stories_of(text, words[0])
    print(f"{sum(story.numel() for story in stories)} tokens in {len(stories)} paragraphs")
    for name, values in losses(load(words[0]), stories).items():
        spread = f" (lowest {min(values):.4f} over {len(values)} seeds)" if len(values) > 1 else ""
        print(f"{name:7}{statistics.mean(values):.4f}{spread}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
