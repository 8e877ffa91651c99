"""The built-in demo task: is the second sentence true if the first one is?

A pair differs in one word: a noun of the first sentence is a category word in the second. The pair is an entailment if
that noun belongs to the category. Noun, category, sentence frame, the other noun and the replaced place are drawn
independently of the label, so neither sentence alone, nor the words that the two share, tell anything about it.
A fifth of the nouns occurs in the dev file only, in two thirds of its rows.
"""

import random
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from light_peft.writing import whole_file

NOUNS: dict[str, str] = {
    "bird": "sparrow robin eagle pigeon swan owl parrot hawk goose raven heron gull dove finch stork",
    "fish": "salmon trout shark herring tuna cod carp eel sardine haddock mackerel halibut minnow anchovy sturgeon",
    "flower": "rose tulip daisy lily orchid daffodil carnation marigold poppy petunia lotus peony "
    "dahlia begonia primrose",
    "fruit": "apple pear banana cherry peach lemon mango plum grape melon apricot strawberry "
    "papaya raspberry nectarine",
    "tool": "hammer screwdriver wrench chisel saw drill shovel rake mallet trowel pickaxe crowbar "
    "spade spanner pitchfork",
    "vehicle": "truck bus car van taxi bicycle motorcycle tractor ambulance lorry scooter tram limousine jeep wagon",
    "garment": "shirt jacket coat sweater skirt dress blouse vest cardigan robe hoodie tunic gown cloak kimono",
    "insect": "ant bee wasp beetle butterfly moth mosquito grasshopper cricket fly dragonfly cockroach "
    "hornet termite locust",
    "weapon": "sword rifle pistol dagger spear cannon grenade musket shotgun missile revolver bayonet "
    "crossbow bomb javelin",
    "furniture": "chair table sofa desk bed wardrobe bookcase stool bench cupboard couch dresser "
    "armchair cabinet ottoman",
}
"""Category word -> its nouns; the last `NUM_UNSEEN` of each are in the dev file only."""
NUM_UNSEEN = 3

NEUTRAL = (
    "gate wall window bridge fountain tower statue river fence road pond hill church barn map flag bell coin cliff "
    "staircase"
)
"""Words of no category; half of the time the other noun is one of them."""

FRAMES: tuple[str, ...] = (
    "The {} stood beside the {}.",
    "She painted the {} next to the {}.",
    "He saw the {} and then the {}.",
    "The {} hangs above the {}.",
    "A child drew the {} near the {}.",
    "We noticed the {} behind the {}.",
    "The book shows the {} before the {}.",
    "I dreamed about the {} and the {}.",
    "Her story compares the {} with the {}.",
    "They talked about the {}, not the {}.",
    "The {} was hidden under the {}.",
    "My uncle photographed the {} and the {}.",
    "The poster has the {} in front of the {}.",
    "Someone mentioned the {} after the {}.",
    "The {} is on the stamp with the {}.",
    "Look at the {} close to the {}.",
)

SEED = 20240606
TRAIN_REPEATS, UNSEEN_REPEATS, SEEN_REPEATS = 12, 6, 1
"""Rows per noun and label: in train, and in dev for nouns that train has not and has."""
NUM_SEEN = 9
"""Nouns per category that dev shares with train; repeats x nouns per category is a multiple of 9 everywhere, so that
each category is the wrong one equally often."""


class Pair(NamedTuple):
    """One row of the files."""

    sentence1: str
    sentence2: str
    label: str


def make_pairs(rng: random.Random, nouns: dict[str, list[str]], others: list[str], *, repeats: int) -> list[Pair]:
    """Give every noun `repeats` rows per label, every category equally often with both; order is by noun.

    `nouns` are the replaced ones by category, `others` those that fill the second place.
    """
    categories, pairs = list(nouns), []
    for position, category in enumerate(categories):
        wrong = categories[position + 1 :] + categories[:position]
        for turn, noun in enumerate(noun for noun in nouns[category] for _ in range(repeats)):
            for word, label in ((category, "entailment"), (wrong[turn % len(wrong)], "not_entailment")):
                pairs.append(_pair(rng, noun, word, others=others, label=label))
    return pairs


def _pair(rng: random.Random, noun: str, word: str, *, others: list[str], label: str) -> Pair:
    frame, first = rng.choice(FRAMES), rng.random() < 0.5
    other = rng.choice([candidate for candidate in others if candidate != noun])
    both = [(noun, other), (word, other)] if first else [(other, noun), (other, word)]
    return Pair(frame.format(*both[0]), frame.format(*both[1]), label)


def demo_pairs() -> tuple[list[Pair], list[Pair]]:
    """Return the train rows (2,880) and dev rows (540), the same ones at every call."""
    rng = random.Random(SEED)
    nouns = {category: words.split() for category, words in NOUNS.items()}
    seen = {category: words[:-NUM_UNSEEN] for category, words in nouns.items()}
    shared = {category: words[:NUM_SEEN] for category, words in nouns.items()}
    unseen = {category: words[-NUM_UNSEEN:] for category, words in nouns.items()}
    others = [word for words in seen.values() for word in words]
    others += NEUTRAL.split() * (len(others) // len(NEUTRAL.split()))
    train = make_pairs(rng, seen, others, repeats=TRAIN_REPEATS)
    dev = make_pairs(rng, unseen, others, repeats=UNSEEN_REPEATS) + make_pairs(
        rng, shared, others, repeats=SEEN_REPEATS
    )
    rng.shuffle(train)
    rng.shuffle(dev)
    return train, dev


def write_demo(folder: Path) -> None:
    """Leave `train.tsv` and `dev.tsv` in `folder`, in the form of GLUE's RTE; several processes may do so at once."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, pairs in zip(("train.tsv", "dev.tsv"), demo_pairs(), strict=True):
        if not (folder / name).exists():  # there are only whole ones, and all alike
            _write(folder / name, pairs)


def _write(path: Path, pairs: Iterable[Pair]) -> None:
    lines = ["index\tsentence1\tsentence2\tlabel"]
    lines += ["\t".join((str(index), *pair)) for index, pair in enumerate(pairs)]
    with whole_file(path) as partial:
        partial.write_bytes("".join(f"{line}\n" for line in lines).encode())
