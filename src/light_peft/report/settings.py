"""What the runs of a setting are called: what was done, and what differs where that is not enough."""

from collections.abc import Mapping, Sequence
from typing import Any

from light_peft.artifacts import RunRecord
from light_peft.config import PruneConfig
from light_peft.settings import settings_of

SHARES = ("attn", "ffn", "peft_module", "peft_rank")
SEED, MODEL_NAME = "seed", "model.name"


def name_of(record: RunRecord) -> str:
    """Return the label of a run, or what was done in a few words."""
    if label := record.config.get("label"):
        return str(label)
    prune = record.config.get("prune", {})
    if prune.get("method") == "none":
        return f"plain {record.peft}"
    # Records of before there were targets have none.
    asked = [f"to {name} {value:g}" for name, value in prune.get("target", {}).items() if value is not None]
    shares = [f"{name} {prune[name]:.3g}" for name in SHARES[2 if asked else 0 :] if name in prune]
    criterion = prune.get("criterion", PruneConfig.criterion)
    by = [] if criterion == PruneConfig.criterion else [f"by {criterion}"]
    return f"{record.peft}, cut {', '.join([*asked, *shares, *by])}"


def differing_keys(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the settings that are not the same in all of these configurations.

    Left out are the seed, and what does not change what a run finds. A key that a configuration lacks, since it is of
    an older version, does not differ.
    """
    seen: dict[str, set[str]] = {}
    for config in configs:
        for key, value in settings_of(dict(config)).items():
            seen.setdefault(key, set()).add(repr(value))
    return sorted(key for key, values in seen.items() if len(values) > 1 and key != SEED)


def telling_keys(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the settings that differ and tell these apart; of a model its name alone where that is enough."""
    keys = differing_keys(configs)
    short = [key for key in keys if key == MODEL_NAME or not key.startswith("model.")]
    return short if _groups(configs, short) == _groups(configs, keys) else keys


def value_of(config: Mapping[str, Any], key: str) -> Any:
    """Return the value of a dotted key; None where the configuration lacks it."""
    return settings_of(dict(config)).get(key)


def _groups(configs: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> int:
    """Return how many different ones there are by these keys."""
    return len({repr([value_of(config, key) for key in keys]) for config in configs})
