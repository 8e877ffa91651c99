"""Bad words on the command line: values, names, grammar."""

import math
import re
import types
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from fuzz.case import Case
from light_peft.config import Config
from light_peft.validation import CHOICES, RANGES


def keys_of(schema: type = Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every key of the configuration that holds a value, with the type of that."""
    hints = get_type_hints(schema)
    for entry in fields(schema):
        kind = hints[entry.name]
        if is_dataclass(kind):
            yield from keys_of(kind, f"{prefix}{entry.name}.")
        else:
            yield prefix + entry.name, kind


KEYS = dict(keys_of())
OPEN = tuple(key for key, kind in KEYS.items() if get_origin(kind) is dict)
"""Keys below which any name may stand."""
WRONG: dict[Any, list[str]] = {
    int: ["many", "2.5", "[1]", "{a: 1}", "1e3", "nan", "ü", '""', "0x", "1_", "--1", "1 2"],
    float: ["high", "[0.1]", "{a: 0.1}", "0,1", '""', "½", "1e", "0.1.2", "'[]'"],
    bool: ["maybe", "2", "[true]", "{a: true}", "0.5", '""', "nein", "tru"],
    str: ["[a, b]", "{a: b}", "[]", "{}", "[[1]]"],
    list: ["5", "word", "{a: b}", "true", "0.5", '""'],
    dict: ["5", "word", "[a]", "true", "0.5"],
}
"""Type -> values that are none of it."""


def plain(kind: Any) -> tuple[Any, bool]:
    """Return the type without None, and whether None may stand there."""
    if get_origin(kind) in (Union, types.UnionType):
        inner = [part for part in get_args(kind) if part is not type(None)]
        return get_origin(inner[0]) or inner[0], True
    return get_origin(kind) or kind, False


def words(kind: str, given: list[str], names: str, **more: Any) -> Case:
    return Case(kind, " ".join(given), lambda folder, stock: given, names, **more)


def _named(key: str) -> str:
    return re.escape(key)


def wrong_types() -> SearchStrategy[Case]:
    def of(key: str) -> SearchStrategy[Case]:
        kind, optional = plain(KEYS[key])
        values = WRONG[kind] if optional else [*WRONG[kind], "null"]
        # a dictionary that may hold anything takes a list or null nowhere, and `evaluate` comes before all others
        return st.sampled_from(values).map(lambda v: words("a value of another type", [f"{key}={v}"], _named(key)))

    return st.sampled_from(list(KEYS)).flatmap(of)


def out_of_range() -> SearchStrategy[Case]:
    pairs: list[tuple[str, float]] = []
    for names, holds, _ in RANGES:
        for key in names:
            kind, _ = plain(KEYS[key])
            tried = (-1, 0, 1, 2, 3, 7, -(2**40), 2**32) if kind is int else (-0.5, -1.0, 0.0, 1.0, 1.5, 2.25, -1e30)
            odd = () if kind is int else (math.nan, math.inf, -math.inf)
            pairs += [(key, value) for value in (*tried, *odd) if not holds(value)]
    shown = st.sampled_from(pairs)
    return shown.map(lambda pair: words("a number out of its range", [f"{pair[0]}={pair[1]}"], _named(pair[0])))


def huge_numbers() -> SearchStrategy[Case]:
    """Whole numbers that no library can take: beyond 64 bits, or more memory than there is."""
    keys = [key for key, kind in KEYS.items() if plain(kind)[0] is int]
    sizes = st.sampled_from([10**10, 10**15, 2**63 - 1, 2**63, 2**64 + 1, 10**30, 10**400])
    pairs = st.tuples(st.sampled_from(keys), sizes)
    return pairs.map(lambda pair: words("a number beyond all bounds", [f"{pair[0]}={pair[1]}"], _named(pair[0])))


NONSENSE = ("nonsense", '""', "größe", "none_", "Auto", "cpu0", "LINEAR", "' '", "classification,regression", "✓", "-")


def unknown_choices() -> SearchStrategy[Case]:
    keys = [
        *CHOICES,
        "peft.kind",
        "prune.criterion",
        "task.format",
        "task.submission.format",
        "task.official.generator",
    ]
    pairs = st.tuples(st.sampled_from(keys), st.sampled_from([n for n in NONSENSE if "," not in n]))
    return pairs.map(lambda pair: words("an unknown choice", [f"{pair[0]}={pair[1]}"], _named(pair[0])))


def misspelt(draw: Any, name: str) -> str:
    """Return the name with one letter changed."""
    place = draw(st.integers(0, len(name) - 1))
    letter = draw(st.sampled_from("abcxyz_é"))
    change = draw(st.sampled_from(["drop", "double", "replace", "swap"]))
    rest = name[place + 1 :]
    return {
        "drop": name[:place] + rest,
        "double": name[: place + 1] + name[place] + rest,
        "replace": name[:place] + letter + rest,
        "swap": name[:place] + rest[:1] + name[place] + rest[1:],
    }[change]


@st.composite
def misspelt_keys(draw: Any) -> Case:
    key = draw(st.sampled_from([key for key in KEYS if key not in OPEN]))
    section, _, last = key.rpartition(".")
    wrong = ".".join(filter(None, [section, misspelt(draw, last)]))
    known = {".".join(key.split(".")[:depth]) for key in KEYS for depth in range(1, 5)}
    if wrong in known or wrong.endswith(".") or not wrong or wrong.startswith("_"):
        wrong = f"{key}x"
    return words("a misspelt key", [f"{wrong}=1"], _named(wrong.split(".")[-1]))


GROUPS = ("task", "model", "peft", "prune", "estimate", "train", "experiment", "debug")
CONF = Path(__file__).resolve().parents[2] / "conf"


@st.composite
def unknown_options(draw: Any) -> Case:
    group = draw(st.sampled_from(GROUPS))
    options = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    wrong = misspelt(draw, draw(st.sampled_from(options)))
    wrong = wrong if wrong and wrong not in options else f"{options[0]}x"
    return words(
        "an unknown option of a group", [f"{group}={wrong}"], rf"{group}={re.escape(wrong)}|{re.escape(wrong)}"
    )


BROKEN = (
    *("=", "==", "=3", "seed", "seed==3=", "seed=[", "seed=]", "seed={", "seed={a", "seed=[1,2", "seed='", 'seed="'),
    *("seed=$", "seed=${", "seed=${}", "seed=${x", "seed=$$", "seed=(1)", "seed=a(b", "seed=f()", "seed=choice(1,2)"),
    *("~", "+", "++", "~~seed", "+++seed=1", "@", "seed@", "@seed=1", "task@=rte", "task@x@y=rte", "task@seed=rte"),
    *("seed:3", "seed 3", " ", "\t", "seed= [", ",", "a,b", "task.=x", ".task=x", "..=1", "seed.x=1", "seed=\\", "ü=1"),
    *(
        "task.text=[a,b",
        "task.text=a]",
        "task.text=[a b]]",
        "model.random={a:1",
        "model.random=a:1}",
        "a=1,2",
        "seed=1,2",
    ),
    *("--config-name=nope", "--config-path=nowhere", "--config-dir=nowhere", "--nope", "-x", "--cfg=nope"),
    *("seed=\x00", "\x00=1", "seed=1\n2", "a" * 5000, "a" * 5000 + "=1", "seed=" + "[" * 400, "seed=" + "9" * 5000),
)


def grammar() -> SearchStrategy[Case]:
    """Words that are no override at all, and such as chance makes of the marks that mean something."""
    marks = st.text(alphabet="{}[](),:='\"$\\@~+. a1", min_size=1, max_size=8)
    listed = st.sampled_from(BROKEN).map(lambda word: words("a word that cannot be read", [word], r"\S"))
    chance = marks.map(lambda text: words("marks by chance", [f"train.epochs={text}"], r"\S", may_pass=True))
    return st.one_of(listed, chance)


def interpolations() -> SearchStrategy[Case]:
    numbers = [key for key, kind in KEYS.items() if plain(kind)[0] in (int, float)]
    targets = [
        "nope",
        "train.nope",
        "{key}",
        "nope:1",
        "oc.env:NO_SUCH_VARIABLE",
        "task",
        "..nope",
        "oc.decode:'['",
        "unique:1",
    ]

    def of(pair: tuple[str, str]) -> Case:
        key, target = pair
        return words("an interpolation into nothing", [f"{key}=${{{target.format(key=key)}}}"], _named(key))

    rings = st.sampled_from([(a, b) for a in numbers for b in numbers if a < b]).map(
        lambda pair: words(
            "interpolations in a ring",
            [f"{pair[0]}=${{{pair[1]}}}", f"{pair[1]}=${{{pair[0]}}}"],
            "|".join(map(_named, pair)),
        )
    )
    return st.one_of(st.tuples(st.sampled_from(numbers), st.sampled_from(targets)).map(of), rings)


def prefixes() -> SearchStrategy[Case]:
    """Keys that are added or taken away."""

    def of(pair: tuple[str, str]) -> Case:
        key, form = pair
        return words("a key added or taken away", [form.format(key=key)], _named(key.split(".")[-1]))

    forms = ["+{key}x=1", "++{key}x=1", "~{key}x", "~{key}", "~{key}=nope", "+{key}.x=1", "++{key}.x.y=1", "{key}.x=1"]
    known = [key for key in KEYS if key not in OPEN]
    groups = st.tuples(st.sampled_from(GROUPS), st.sampled_from(["+{key}=nope", "++{key}=nope", "~{key}=nope"]))
    return st.one_of(st.tuples(st.sampled_from(known), st.sampled_from(forms)), groups).map(of)


SWEEPS: list[tuple[list[str], str]] = [
    *(
        (["-m", f"{key}={word}"], key.split(".")[-1])
        for key in ("seed", "train.epochs")
        for word in ("x", "range(a,b)")
    ),
    *((["-m", word], r"\S") for word in ("seed=choice()", "seed=glob(*)", "seed=interval(0,1)", "seed=1,,2")),
    (["-m", "experiment=glob(nope_*)"], r"\S"),
    (["-m", "task=rtee,colaa"], r"rtee"),
    (["-m", "hydra/launcher=nope"], r"nope"),
    (["-m", "hydra/sweeper=nope"], r"nope"),
    (["-m", "hydra.sweep.dir=/dev/null/x", "seed=1"], r"/dev/null"),
    (["-m", "prune.attn=7"], r"prune\.attn"),
    (["-m", "peft=lora", "train.lr=1,2"], r"train\.lr"),
]


def sweeps() -> SearchStrategy[Case]:
    return st.sampled_from(SWEEPS).map(
        lambda pair: words("a sweep that cannot be", ["sweep.isolate=false", *pair[0]], pair[1])
    )


EVALUATIONS: list[tuple[list[str], str]] = [
    *(
        ([f"evaluate={word}"], r"evaluate|result\.json")
        for word in ("nowhere", ".", "''", "/dev/null", "/dev/zero", "ü ü", "~nobody")
    ),
    *((["evaluate=" + word], r"\S") for word in ("[a]", "{a: b}", "5", "true", "a" * 400, "'a\x00b'")),
    *(
        (["evaluate=nowhere", word], r"evaluate|task|result\.json|lr|x")
        for word in ("task=rte", "seed=-1", "train.lr=3", "+x=1")
    ),
]


def evaluations() -> SearchStrategy[Case]:
    return st.sampled_from(EVALUATIONS).map(lambda pair: words("a run to score that is none", *pair))


KINDS = (
    *(
        wrong_types,
        out_of_range,
        huge_numbers,
        unknown_choices,
        misspelt_keys,
        unknown_options,
        grammar,
    ),
    *(interpolations, prefixes, sweeps, evaluations),
)
