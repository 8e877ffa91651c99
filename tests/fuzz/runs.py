"""Bad run folders: for `evaluate=FOLDER` and for `light_peft.load`."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from fuzz.case import Case
from fuzz.stock import Stock
from light_peft import artifacts

FILES = (
    *("result.json", "plan.json", "checksums.json", "scores.safetensors", "adapter/adapter_config.json"),
    *("adapter/adapter_model.safetensors", "model/config.json", "model/model.safetensors"),
    *("tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"),
)
ODD: tuple[Any, ...] = (
    None,
    5,
    -1,
    0.5,
    True,
    "",
    "text",
    [],
    {},
    [[]],
    [None],
    {"a": 1},
    ["a"],
    10**30,
    [[0, 0]],
    "../../x",
)


def of_run(kind: str, what: str, change: Callable[[Path, Path], object], *, load: bool, may_pass: bool = False) -> Case:
    """Return the case of a run's folder that `change` has spoilt; beside it is that of another run."""

    def lay(folder: Path, stock: Stock) -> list[str]:
        first, second = stock.runs
        run = stock.copy(first, folder / "run")
        change(run, second)
        return ["run"] if load else [f"evaluate={run}"]

    way = "load" if load else "evaluate"
    return Case(kind, f"{way} {what}", lay, r"run\b", may_pass=may_pass, load=load)


def renewed(run: Path) -> None:
    """Write the checksums anew, as someone does who means the change."""
    artifacts.write_checksums(run)


@st.composite
def damaged_files(draw: Any) -> Case:
    name, how, load = (
        draw(st.sampled_from(FILES)),
        draw(st.sampled_from(["gone", "cut", "flip", "empty", "folder", "other"])),
        draw(st.booleans()),
    )
    share = draw(st.integers(0, 99))

    def change(run: Path, other: Path) -> None:
        path = run / name
        whole = bytearray(path.read_bytes())
        path.unlink()
        if how == "cut":
            path.write_bytes(whole[: len(whole) * share // 100])
        elif how == "flip":
            whole[len(whole) * share // 100] ^= 1 + share
            path.write_bytes(whole)
        elif how == "empty":
            path.touch()
        elif how == "folder":
            path.mkdir()
        elif how == "other":
            shutil.copy(other / name, path)

    odd = name == "result.json" and how in ("flip", "other")
    same = how == "other" and (name.startswith(("tokenizer", "scores")) or "config" in name)
    what = f"{name} {how} {share if how in ('cut', 'flip') else ''}"
    return of_run("a file of a run that is damaged", what, change, load=load, may_pass=odd or same)


def ways(node: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to every value within a value, of lists to the first ones only."""
    inner = node.items() if isinstance(node, dict) else enumerate(node[:2]) if isinstance(node, list) else ()
    return [step for key, value in inner for step in [(*way, key), *ways(value, (*way, key))]]


@st.composite
def edited_json(draw: Any) -> Case:
    """One value of a JSON file, the checksums written anew."""
    name = draw(
        st.sampled_from(
            ["result.json", "plan.json", "adapter/adapter_config.json", "model/config.json", "checksums.json"]
        )
    )
    number, value, load = draw(st.integers(0, 10_000)), draw(st.sampled_from(ODD)), draw(st.booleans())
    gone, whole = draw(st.integers(0, 3)) == 0, draw(st.integers(0, 5)) == 0

    def change(run: Path, other: Path) -> None:
        found = json.loads((run / name).read_text(encoding="utf-8"))
        steps = ways(found)
        *path, last = steps[number % len(steps)]
        inner = found
        for step in path:
            inner = inner[step]
        if gone:
            del inner[last]
        else:
            inner[last] = value
        (run / name).write_text(json.dumps(value if whole else found), encoding="utf-8")
        if name != "checksums.json":
            renewed(run)

    shown = f"is {value!r}" if whole else f"way {number} {'gone' if gone else repr(value)}"
    return of_run("a value of a run's file", f"{name} {shown}", change, load=load, may_pass=True)


ESCAPES = ("../../x", "/etc/passwd", "model", ".", "", "adapter/../../x", "\x00", "a" * 300, "model/nope.safetensors")


@st.composite
def escapes(draw: Any) -> Case:
    """Names among the checksums that are no files of the run."""
    name, load, value = (
        draw(st.sampled_from(ESCAPES)),
        draw(st.booleans()),
        draw(st.sampled_from(["0" * 64, None, 5, "x", []])),
    )

    def change(run: Path, other: Path) -> None:
        known = json.loads((run / artifacts.CHECKSUMS).read_text(encoding="utf-8"))
        (run / artifacts.CHECKSUMS).write_text(json.dumps(known | {name: value}), encoding="utf-8")

    return of_run("a checksum of what is no file of the run", f"{name!r} {value!r}", change, load=load)


@st.composite
def swapped(draw: Any) -> Case:
    """Several files of another run, the checksums written anew."""
    names, load = draw(st.sets(st.sampled_from(FILES[:8]), min_size=1, max_size=4)), draw(st.booleans())

    def change(run: Path, other: Path) -> None:
        for name in names:
            shutil.copy(other / name, run / name)
        renewed(run)

    return of_run("files of another run", " ".join(sorted(names)), change, load=load, may_pass=True)


KINDS = (damaged_files, edited_json, escapes, swapped)
