"""Bad folders of models: configuration, weights, tokenizer."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from command_line import tiny_files
from fuzz.case import Case
from fuzz.stock import Stock

CONFIG, WEIGHTS, TOKENIZER, SETTINGS = "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"
FIELDS = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size", "hidden_act"),
    *(
        "max_position_embeddings",
        "type_vocab_size",
        "model_type",
        "layer_norm_eps",
        "pad_token_id",
        "hidden_dropout_prob",
    ),
)
ODD: tuple[Any, ...] = (
    None,
    -1,
    0,
    3,
    7,
    0.5,
    "many",
    [],
    {},
    True,
    10**9,
    10**13,
    10**30,
    "",
    float("nan"),
    -0.1,
    [1, 2],
)


def of_folder(kind: str, what: str, change: Callable[[Path], object], *, may_pass: bool = False) -> Case:
    """Return the case of a model's folder that `change` has spoilt."""

    def lay(folder: Path, stock: Stock) -> list[str]:
        model = stock.copy(stock.model, folder / "encoder")
        change(model)
        return [*tiny_files(folder), "model=bert_base", f"model.path={model}"]

    return Case(kind, what, lay, r"bert_base|encoder|data\.max_length|not finite|architecture", may_pass=may_pass)


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")


@st.composite
def config_values(draw: Any) -> Case:
    field, value, gone = draw(st.sampled_from(FIELDS)), draw(st.sampled_from(ODD)), draw(st.integers(0, 5)) == 0

    def change(model: Path) -> None:
        def other(values: dict[str, Any]) -> dict[str, Any]:
            rest = {name: old for name, old in values.items() if name != field}
            return rest if gone else rest | {field: value}

        edit(model / CONFIG, other)

    what = f"{field} {'gone' if gone else repr(value)}"
    return of_folder("a value of a model's configuration", what, change, may_pass=True)


JSONS = (
    "",
    "{",
    "[]",
    "5",
    "null",
    '"text"',
    "{}",
    "\x00",
    '{"model_type": "nope"}',
    '{"model_type": "bert"',
    "[" * 100_000,
    '{"model_type": 5}',
)
JSON_FILES = (CONFIG, TOKENIZER, SETTINGS)


@st.composite
def json_files(draw: Any) -> Case:
    name, text = draw(st.sampled_from(JSON_FILES)), draw(st.sampled_from(JSONS))
    passes = name == SETTINGS
    return of_folder(
        "a JSON file of a model",
        f"{name} {text[:40]!r}",
        lambda model: (model / name).write_text(text),
        may_pass=passes,
    )


@st.composite
def cut_files(draw: Any) -> Case:
    name, share = draw(st.sampled_from((*JSON_FILES, WEIGHTS))), draw(st.integers(0, 99))

    def change(model: Path) -> None:
        whole = (model / name).read_bytes()
        (model / name).write_bytes(whole[: len(whole) * share // 100])

    return of_folder("a file of a model that is cut off", f"{name} {share}%", change)


@st.composite
def missing_files(draw: Any) -> Case:
    name, how = (
        draw(st.sampled_from((CONFIG, WEIGHTS, TOKENIZER))),
        draw(st.sampled_from(["gone", "folder", "link", "pipe"])),
    )

    def change(model: Path) -> None:
        import os

        path = model / name
        path.unlink()
        again = {"gone": lambda: None, "folder": path.mkdir, "link": lambda: path.symlink_to(name)}
        (again | {"pipe": lambda: os.mkfifo(path)})[how]()

    return of_folder("a file of a model that is not there", f"{name} {how}", change)


@st.composite
def headers(draw: Any) -> Case:
    """The first bytes of a safetensors file: length of the header, header."""
    change = draw(st.sampled_from(["length", "flip", "offsets", "dtype", "shape"]))
    number, bits = draw(st.integers(0, 2000)), draw(st.integers(1, 255))

    def spoil(model: Path) -> None:
        whole = bytearray((model / WEIGHTS).read_bytes())
        size = struct.unpack("<Q", whole[:8])[0]
        if change == "length":
            whole[:8] = struct.pack("<Q", size ^ (bits << (number % 56)))
        elif change == "flip":
            whole[8 + number % size] ^= bits
        else:
            old = {"offsets": b'"data_offsets":[', "dtype": b'"dtype":"F32"', "shape": b'"shape":['}[change]
            new = {"offsets": b'"data_offsets":[9', "dtype": b'"dtype":"F16"', "shape": b'"shape":[9'}[change]
            head = bytes(whole[8 : 8 + size]).replace(old, new, 1 + number % 3).rstrip()
            whole = bytearray(struct.pack("<Q", len(head)) + head + whole[8 + size :])
        (model / WEIGHTS).write_bytes(whole)

    return of_folder("a header of weights", f"{change} {number} {bits}", spoil, may_pass=change == "flip")


@st.composite
def tensors(draw: Any) -> Case:
    change = draw(st.sampled_from(["lack", "wider", "flat", "whole", "nan", "rename", "all gone", "empty"]))
    number = draw(st.integers(0, 1000))

    def spoil(model: Path) -> None:
        known = load_file(model / WEIGHTS)
        names = sorted(name for name in known if name.startswith(("encoder", "embeddings")))
        name = names[number % len(names)]
        old = known.pop(name)
        shape = list(old.shape)
        other = {"wider": torch.zeros([shape[0] + 1, *shape[1:]]), "flat": torch.zeros(7), "whole": old.long()}
        other |= {"nan": old * float("nan"), "empty": torch.zeros(0)}
        if change in other:
            known[name] = other[change]
        elif change == "rename":
            known[f"{name}s"] = old
        save_file({} if change == "all gone" else known, model / WEIGHTS, metadata={"format": "pt"})

    return of_folder("tensors that are not the model's", f"{change} {number}", spoil, may_pass=change in ("whole",))


@st.composite
def vocabularies(draw: Any) -> Case:
    """A tokenizer of more words than the model has, or with special tokens that it has not."""
    size = draw(st.integers(1, 30521))

    def spoil(model: Path) -> None:
        edit(model / CONFIG, lambda values: values | {"vocab_size": size})
        known = load_file(model / WEIGHTS)
        name = "embeddings.word_embeddings.weight"
        save_file(known | {name: known[name][:size].clone()}, model / WEIGHTS, metadata={"format": "pt"})

    return of_folder("a vocabulary that does not fit", str(size), spoil)


@st.composite
def tokenizer_parts(draw: Any) -> Case:
    part = draw(
        st.sampled_from(
            ["model", "pre_tokenizer", "normalizer", "post_processor", "decoder", "added_tokens", "version"]
        )
    )
    value = draw(st.sampled_from([None, 5, [], {}, "text", {"type": "Nope"}, [{}], {"type": "WordPiece"}]))
    change = lambda model: edit(model / TOKENIZER, lambda values: values | {part: value})  # noqa: E731
    return of_folder("a part of a tokenizer", f"{part} {value!r}", change, may_pass=True)


KINDS = (config_values, json_files, cut_files, missing_files, headers, tensors, vocabularies, tokenizer_parts)
