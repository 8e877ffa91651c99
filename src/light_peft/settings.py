"""The settings of a run as plain values by dotted key, and how those of two runs differ."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

NOT_COMPARED = ("run_dir", "resume", "checkpoint", "estimate.reuse", "sweep", "label", "track")
"""Settings that do not change what a run finds: two runs that differ in these alone are the same one."""

Settings = dict[str, Any]
"""Values by dotted key, as JSON has them."""


def settings_of(config: dict[str, Any]) -> Settings:
    """Return the values of a configuration, without those that do not matter, by dotted key."""
    values = dict(_flat(json.loads(json.dumps(config)), ""))
    left_out = tuple(f"{name}." for name in NOT_COMPARED)
    return {key: value for key, value in values.items() if not f"{key}.".startswith(left_out)}


def config_sha256(config: dict[str, Any]) -> str:
    """Return the sha256 of a configuration, without the settings that do not change what a run finds."""
    return hashlib.sha256(json.dumps(settings_of(config), sort_keys=True).encode()).hexdigest()


def differences(theirs: Settings, ours: Settings) -> list[str]:
    """Return what differs between two configurations, one text for each key."""
    keys = [*theirs, *(key for key in ours if key not in theirs)]
    return [
        f"{key} is {_shown(theirs, key)} there and {_shown(ours, key)} now"
        for key in keys
        if key not in theirs or key not in ours or theirs[key] != ours[key]
    ]


def _flat(values: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _shown(settings: Settings, key: str) -> str:
    return json.dumps(settings[key], ensure_ascii=False) if key in settings else "not there"
