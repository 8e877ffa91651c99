"""Bad files of examples below the level of tables: bytes, encodings, JSON, what is no file at all."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from fuzz.case import Case
from fuzz.files import ENDINGS, SPLITS, encoded, good_rows, laid, with_bytes


@st.composite
def encodings(draw: Any) -> Case:
    ending, split = draw(st.sampled_from(ENDINGS[:4])), draw(st.sampled_from(SPLITS))
    name = draw(
        st.sampled_from(["latin-1", "utf-16", "utf-16-le", "utf-32", "cp1252", "surrogates", "gzip", "half", "cp037"])
    )
    rows = good_rows()
    rows[3]["sentence1"] = "ein Käfer saß"
    text = encoded(rows, ending)
    if name == "surrogates":
        content = text.replace("ä".encode(), b"\xed\xa0\x80")
    elif name == "gzip":
        content = gzip.compress(text, mtime=0)
    elif name == "half":
        content = text.replace("ä".encode(), b"\xc3")
    else:
        content = text.decode().encode(name)
    return with_bytes("a text that is not UTF-8", name, split, ending, content)


@st.composite
def json_faults(draw: Any) -> Case:
    ending, split = draw(st.sampled_from(["jsonl", "json"])), draw(st.sampled_from(SPLITS))
    rows = good_rows()
    text = encoded(rows, ending).decode()
    row = json.dumps(rows[2])
    name, bad = draw(
        st.sampled_from(
            [
                *(
                    ("a lone surrogate", row.replace("mat", "\\ud800")),
                    ("a number of 5000 digits", row.replace('"entailment"', "9" * 5000)),
                ),
                *(
                    ("depth", row.replace('"entailment"', "[" * 100_000 + "]" * 100_000)),
                    ("a bare word", row.replace('"entailment"', "entailment")),
                ),
                *(
                    ("single quotes", row.replace('"', "'")),
                    ("a comma too many", row.replace("}", ",}")),
                    ("NaN", row.replace('"entailment"', "NaN")),
                ),
                *(
                    ("a list", "[1, 2]"),
                    ("a number", "5"),
                    ("null", "null"),
                    ("a text", '"text"'),
                    ("an empty object", "{}"),
                    ("cut off", row[:-9]),
                ),
                *(
                    ("a control character", row.replace("mat", "m\x01t")),
                    ("a bad escape", row.replace("mat", "\\x41")),
                    ("Infinity", row.replace('"entailment"', "Infinity")),
                ),
            ]
        )
    )
    return with_bytes("JSON that is none, or no row", name, split, ending, text.replace(row, bad).encode())


@st.composite
def truncated(draw: Any) -> Case:
    ending, split = draw(st.sampled_from(["json", "parquet"])), draw(st.sampled_from(SPLITS))
    whole = encoded(good_rows(), ending)
    cut = draw(st.integers(0, len(whole) - 1))
    names = rf"split is empty|bad\.{ending}"
    return with_bytes("a file that is cut off", f"{cut} bytes", split, ending, whole[:cut], names=names)


@st.composite
def flipped(draw: Any) -> Case:
    ending, split = draw(st.sampled_from(ENDINGS)), draw(st.sampled_from(SPLITS))
    whole = bytearray(encoded(good_rows(), ending))
    places = draw(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(1, 255)), min_size=1, max_size=4))
    for place, bits in places:
        whole[place] ^= bits
    return with_bytes("bytes changed by chance", str(places), split, ending, bytes(whole), names=r"\S", may_pass=True)


@st.composite
def noise(draw: Any) -> Case:
    ending, split = draw(st.sampled_from(ENDINGS)), draw(st.sampled_from(SPLITS))
    content = draw(
        st.one_of(st.binary(max_size=64), st.text(max_size=40).map(lambda text: text.encode("utf-8", "replace")))
    )
    names = rf"split is empty|bad\.{ending}"
    return with_bytes("noise", repr(content), split, ending, content, names=names)


PUT: dict[str, Callable[[Path], object]] = {
    "a directory": Path.mkdir,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("nowhere.tsv"),
    "a pipe": os.mkfifo,
    "a link to endless zeros": lambda path: path.symlink_to("/dev/zero"),
    "a link to nothing at all": lambda path: path.symlink_to("/dev/null"),
    "a link to a directory": lambda path: path.symlink_to("."),
    "a link to a socket's process": lambda path: path.symlink_to("/proc/self/mem"),
    "nothing": lambda path: None,
    "an empty file": Path.touch,
    "blank lines": lambda path: path.write_bytes(b"\n\n\n"),
    "one line without end": lambda path: path.write_bytes(b"a" * 3_000_000),
    "zeros": lambda path: path.write_bytes(bytes(5000)),
}
ODD_ENDINGS = (
    "bad",
    "bad.txt",
    "bad.TSV",
    "bad.tsv.gz",
    "bad.json5",
    "bad.",
    ".tsv",
    "bad.arrow",
    "bad.xlsx",
    "bad.tsv~",
    "b'ad.tsv2",
)


@st.composite
def no_files(draw: Any) -> Case:
    ending, split, what = (
        draw(st.sampled_from(ENDINGS)),
        draw(st.sampled_from(SPLITS)),
        draw(st.sampled_from(list(PUT))),
    )
    names = rf"data\.files\.{split}|bad\.{ending}|split is empty"
    return laid("what is no file of examples", what, split, f"bad.{ending}", PUT[what], names=names)


@st.composite
def odd_endings(draw: Any) -> Case:
    name, split = draw(st.sampled_from(ODD_ENDINGS)), draw(st.sampled_from(SPLITS))
    return laid(
        "an ending that says nothing",
        name,
        split,
        name.replace("'", ""),
        lambda path: path.write_bytes(encoded(good_rows(), "tsv")),
    )


KINDS = (encodings, json_faults, truncated, flipped, noise, no_files, odd_endings)
