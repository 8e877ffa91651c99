"""Hydra's side of a search: ranges are read by its parser, and the words of each trial composed by it."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep, ValueType
from omegaconf import OmegaConf

from light_peft import door
from light_peft.config import Config, config_from_dict
from light_peft.search.space import Dimension, Space, Value, even_grid, geometric_grid
from light_peft.settings import NOT_COMPARED
from light_peft.words import hold_words

OURS = ("run_dir", "resume", "evaluate")
"""Keys that the search sets for each trial, or that make no run."""
ONE_FOR_ALL = ("seed", "task", *NOT_COMPARED)
"""Keys that all trials have in common, or their scores could not be compared."""
LOG = "log"
EXAMPLE = "such as prune.ffn=interval(0.1,0.7)"


def read_space(words: Sequence[str]) -> Space:
    """Return the words of the command line with their ranges.

    Ranges are `interval(low,high)`, whose upper end is left out, `tag(log,interval(low,high))`, `range(low,high,step)`,
    `choice(a,b)` and `a,b`.

    Raises:
        ValueError: If there is no range, or one where none may be.
        hydra.errors.HydraException: If a word cannot be read.
    """
    words = door.options_first(list(words))
    hold_words(words, door.options_of)
    parts = [_part(word) for word in words]
    keys = [part.key for part in parts if isinstance(part, Dimension)]
    if not keys:
        raise ValueError(f"{' '.join(words) or 'no words'}: nothing to search over; give a range, {EXAMPLE}")
    given = [word.split("=", 1)[0] for word in words]
    if twice := [key for key in keys if given.count(key) > 1]:
        raise ValueError(f"{twice[0]}: given twice, and one of them is a range")
    return Space(tuple(parts))


def telling(words: Iterable[str]) -> list[str]:
    """Return the words that change what a run finds, in one order for all."""
    return sorted(word for word in words if not _is_below(word.lstrip("+~").split("=", 1)[0], NOT_COMPARED))


def composed(words: Sequence[str]) -> Config:
    """Return the configuration that `python -m run` would have of these words.

    Raises:
        ValueError, hydra.errors.HydraException, omegaconf.errors.OmegaConfBaseException: If it would have none.
    """
    with initialize_config_dir(str(door.conf_dir()), version_base="1.3"):
        found = compose("config", overrides=door.with_model_folders(list(words)))
    values: dict[str, Any] = OmegaConf.to_container(found, resolve=True)  # type: ignore[assignment]
    return config_from_dict(values)


def _part(word: str) -> str | Dimension:
    override = OverridesParser.create().parse_override(word)
    key = word.split("=", 1)[0]
    if override.is_hydra_override() or key in OURS:
        raise ValueError(f"{word}: may not be given; a search runs each trial by itself, in a folder of its own")
    if not override.is_sweep_override():
        return word
    if _is_below(key, ONE_FOR_ALL):
        advice = "; seeds are given by --seeds" if key == "seed" else ""
        raise ValueError(f"{word}: all trials of a search must have the same {key}{advice}")
    values, is_ordered = _values(override, word)
    if len(values) < 2:
        raise ValueError(f"{word}: must hold two values at least, is {', '.join(map(str, values)) or 'empty'}")
    return Dimension(key, word.split("=", 1)[1].replace(" ", ""), values, is_ordered)


def _values(override: Override, word: str) -> tuple[tuple[Value, ...], bool]:
    """Return the values of a range, and whether they have an order."""
    match override._value:  # value() gives the same, and says less about its type
        case IntervalSweep() as interval:
            return _grid(interval, word), True
        case RangeSweep() as numbers:
            return tuple(value if isinstance(value, int) else round(value, 12) for value in numbers.range()), True
        case ChoiceSweep() as choice:
            return tuple(dict.fromkeys(map(_element, choice.list))), False
    assert override.value_type == ValueType.GLOB_CHOICE_SWEEP, override.value_type
    raise ValueError(f"{word}: a search takes no glob; name the options, such as choice(a,b)")


def _grid(interval: IntervalSweep, word: str) -> tuple[Value, ...]:
    low, high = interval.start, interval.end
    assert low is not None
    assert high is not None
    is_log, is_whole = LOG in interval.tags, isinstance(low, int) and isinstance(high, int)
    if unknown := interval.tags - {LOG}:
        raise ValueError(f"{word}: unknown tag {', '.join(sorted(unknown))}; there is {LOG}")
    if not low < high or (is_log and low <= 0):
        limits = "0 < low < high" if is_log else "low < high"
        raise ValueError(f"{word}: must have {limits}")
    if not is_whole:
        return geometric_grid(low, high) if is_log else even_grid(low, high)
    if is_log:
        return tuple(dict.fromkeys(map(round, geometric_grid(low, high))))
    return tuple(range(int(low), int(high)))


def _is_below(key: str, names: Iterable[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)


_as_word: Callable[[Any], str] = Override._get_value_element_as_str


def _element(value: Any) -> Value:
    """Return a value of a choice as a number, or as it stands in a word."""
    return value if type(value) in (int, float) else _as_word(value)
