"""Bad objects of every formulation: a value of the right files replaced, or taken away."""

import json
import re
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from fuzz.case import Case
from fuzz.stock import TASKS, Stock
from miniatures import MINIS

SPECIAL: tuple[Any, ...] = (
    None,
    5,
    -7,
    0.5,
    True,
    "",
    " ",
    [],
    {},
    ["a", 1],
    {"a": 1},
    "\x00",
    10**30,
    "@placeholder",
    [[]],
    [None],
)
DECODERS = {"webqs"}
SMALL = ("data.max_length=48", "task.span.stride=8", "task.generation.max_new_tokens=4", "data.cache_dir=off")


def ways(node: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to every value within a value."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [step for key, value in inner for step in [(*way, key), *ways(value, (*way, key))]]


def changed(node: Any, way: tuple[Any, ...], value: Any, *, remove: bool) -> Any:
    """Return a copy in which the value at the end of the way is another one, or gone."""
    copy = json.loads(json.dumps(node))
    inner = copy
    for step in way[:-1]:
        inner = inner[step]
    if remove:
        del inner[way[-1]]
    else:
        inner[way[-1]] = value
    return copy


def objects_of(path: Path) -> list[Any]:
    """Return the objects of an official file: those of its lines, or of its list."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    whole = json.loads(text)
    return whole["data"] if isinstance(whole, dict) else whole


def write_objects(path: Path, objects: list[Any], container: bool) -> None:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(entry) + "\n" for entry in objects), encoding="utf-8")
    else:
        path.write_text(json.dumps({"data": objects} if container else objects), encoding="utf-8")


@st.composite
def bad_objects(draw: Any) -> Case:
    """One value somewhere in one object of a benchmark's file."""
    task = draw(st.sampled_from([task for task in TASKS if task != "stsb"]))
    split = draw(st.sampled_from(["train", "validation"]))
    number, remove = draw(st.integers(0, 5)), draw(st.booleans())
    entry = MINIS[task].examples(split)[number].official
    way = draw(st.sampled_from(ways(entry)))
    value = None if remove else draw(st.sampled_from(SPECIAL))
    name = MINIS[task].official[split]

    def lay(folder: Path, stock: Stock) -> list[str]:
        root = stock.copy(stock.benchmarks, folder / "data")
        objects = objects_of(root / name)
        objects[number] = changed(objects[number], way, value, remove=remove)
        write_objects(root / name, objects, "squad" in name)
        model = "tiny_llama" if task in DECODERS else "tiny_bert"
        return [f"task={task}", f"model={model}", f"data.dir={root}", *SMALL]

    shown = "gone" if remove else repr(value)
    what = f"{task} {split} {number} {'.'.join(map(str, way))}: {shown}"
    place = rf"{re.escape(Path(name).name)}.*(line|object) {number + 1}\b"
    return Case("a value within an object", what, lay, rf"{place}|identifies more than one|data\.dir", may_pass=True)


@st.composite
def bad_folders(draw: Any) -> Case:
    """Files of a benchmark in the hub's layout that are gone, doubled, cut off or of the wrong number."""
    change = draw(
        st.sampled_from(["gone", "shards", "both", "cut", "empty", "folder", "rows", "other", "link", "pipe"])
    )
    split, size = draw(st.sampled_from(["train", "validation"])), draw(st.integers(0, 900))

    def lay(folder: Path, stock: Stock) -> list[str]:
        root = stock.copy(stock.benchmarks / "nyu-mll", folder / "data" / "nyu-mll").parent
        path = next((root / "nyu-mll/glue/rte").glob(f"{split}-*.parquet"))
        spoil(path, root, change, size)
        return ["task=rte", f"data.dir={root}"]

    return Case("a folder of a benchmark", f"{split} {change} {size if change == 'cut' else ''}", lay, r"rte|parquet")


def spoil(path: Path, root: Path, change: str, size: int) -> None:
    """Change a file of the hub's layout."""
    import os

    import pyarrow.parquet as pq

    if change == "shards":
        path.rename(path.with_name(path.name.replace("-of-00001", "-of-00003")))
    elif change == "both":
        MINIS["rte"].write_official(root)
    elif change == "cut":
        path.write_bytes(path.read_bytes()[:size])
    elif change == "rows":
        pq.write_table(pq.read_table(path).slice(0, 0), path)
    elif change == "other":
        pq.write_table(pq.read_table(path).drop_columns(["sentence2"]), path)
    else:
        path.unlink()
        again = {"empty": path.touch, "folder": path.mkdir, "link": lambda: path.symlink_to(path.name)}
        again |= {"pipe": lambda: os.mkfifo(path), "gone": lambda: None}
        again[change]()


KINDS = (bad_objects, bad_folders)
