"""Ranges in Hydra's own syntax, and the words of a trial."""

import re

import pytest
from hydra.errors import HydraException

from light_peft.search.space import Value, even_grid, geometric_grid
from light_peft.search.words import composed, read_space


def values_of(word: str) -> tuple[Value, ...]:
    (dimension,) = read_space([word]).dimensions
    return dimension.values


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("prune.peft_module=range(0,0.35,0.1)", (0.0, 0.1, 0.2, 0.3)),
        ("peft.r=range(2,9,3)", (2, 5, 8)),
        ("peft.r=int(interval(2,5))", (2, 3, 4)),
        ("prune.criterion=choice(mask,taylor)", ("mask", "taylor")),
        ("prune.criterion=mask,taylor,mask", ("mask", "taylor")),
        ("peft.r=4,8,16", (4, 8, 16)),
        ("prune.fold_masks=true,false", ("True", "False")),
        ("peft.targets=choice([query],[query,value])", ("[query]", "[query,value]")),
        ("prune.ffn=interval(0.1,0.12)", tuple(round(0.1 + index / 1000, 3) for index in range(20))),
        ("train.learning_rate=tag(log,interval(1e-3,2e-3))", (0.001, 0.0011, 0.0013, 0.0014, 0.0016, 0.0018)),
    ],
)
def test_a_range(word: str, expected: tuple[Value, ...]) -> None:
    found = values_of(word)
    assert found == expected
    assert [type(value) for value in found] == [type(value) for value in expected]


def test_an_interval_has_short_numbers_and_leaves_its_end_out() -> None:
    assert even_grid(0.1, 0.7) == tuple(index / 100 for index in range(10, 70))
    assert len(even_grid(0, 1)) == 100
    assert even_grid(1.2, 3.0)[:2] == (1.2, 1.21)
    grid = geometric_grid(1e-4, 1e-2)
    assert (grid[0], len(grid)) == (1e-4, 40)
    assert max(grid) < 1e-2


def test_the_words_of_a_trial_stand_in_their_order() -> None:
    space = read_space(["prune.ffn=interval(0.1, 0.7)", "task=rte", "prune.criterion=mask,taylor", "train.epochs=1"])
    assert space.fixed == ("task=rte", "train.epochs=1")
    words = space.words({"prune.criterion": "taylor", "prune.ffn": 0.25})
    assert words == ("prune.ffn=0.25", "task=rte", "prune.criterion=taylor", "train.epochs=1")
    assert [one.text for one in space.dimensions] == ["interval(0.1,0.7)", "mask,taylor"]


def test_the_corners_have_every_end_and_every_choice() -> None:
    space = read_space(["prune.ffn=interval(0.1,0.7)", "prune.criterion=mask,taylor,fisher"])
    corners = list(space.corners())
    assert [corner["prune.ffn"] for corner in corners] == [0.1, 0.69, 0.1]
    assert [corner["prune.criterion"] for corner in corners] == ["mask", "taylor", "fisher"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task=rte"], "task=rte: nothing to search over; give a range, such as prune.ffn=interval"),
        (["seed=1,2"], "all trials of a search must have the same seed; seeds are given by --seeds"),
        (["task=rte,cola", "prune.ffn=0.1,0.2"], "all trials of a search must have the same task"),
        (["checkpoint.minutes=1,2"], "all trials of a search must have the same checkpoint.minutes"),
        (["run_dir=x", "prune.ffn=0.1,0.2"], "run_dir=x: may not be given"),
        (["hydra.sweep.dir=x", "prune.ffn=0.1,0.2"], "hydra.sweep.dir=x: may not be given"),
        (["prune.ffn=0.1,0.2", "prune.ffn=0.3"], "prune.ffn: given twice, and one of them is a range"),
        (["prune.ffn=interval(0.7,0.1)"], "must have low < high"),
        (["train.learning_rate=tag(log,interval(0,1))"], "must have 0 < low < high"),
        (["prune.ffn=tag(lg,interval(0.1,1))"], "unknown tag lg; there is log"),
        (["peft.r=range(1,2)"], "must hold two values at least, is 1"),
        (["prune.criterion=mask,mask"], "must hold two values at least, is mask"),
        (["prune=glob(*)"], "a search takes no glob; name the options"),
    ],
)
def test_what_cannot_be_searched(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        read_space(words)


def test_a_word_that_cannot_be_read() -> None:
    with pytest.raises(HydraException):
        read_space(["prune.ffn=interval(0.1"])


def test_the_words_compose_to_what_a_run_would_have() -> None:
    from light_peft import door

    door.register()
    config = composed(["task=rte", "prune.ffn=0.25", "seed=3"])
    assert (config.task.name, config.prune.ffn, config.seed) == ("rte", 0.25, 3)
