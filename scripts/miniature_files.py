"""Miniatures of benchmarks, made up: examples as the official files hold them, and the same ones as the hub does."""

import json
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SIZES = {"train": 20, "validation": 12, "test": 6}
"""Examples (objects, for MultiRC passages) of each kind of split."""
THINGS = ("lamp", "river", "horse", "violin", "garden", "engine", "letter")
CUES = ("good", "bad", "plain", "odd", "new")


@dataclass(frozen=True)
class Example:
    """One object of a file, twice, and what may be predicted for it."""

    official: Any
    """Object of the official file, or its line."""
    hub: list[dict[str, Any]]
    """Rows on the hub."""
    answers: Mapping[str, Container[str] | None]
    """What each of its answers is called in a file of predictions -> what may stand there; None: any text."""
    beside: str | None = None
    """Label that stands in a file of its own."""


Make = Callable[[int, int, bool], Example]
"""Makes the example of a number in its split, and of another number over all splits, with its label or without."""


@dataclass(frozen=True)
class Mini:
    """A benchmark: its files, and what makes their examples."""

    make: Make
    official: dict[str, str]
    """Split -> file below `data.dir`."""
    hub: dict[str, str]
    """Split -> the hub's folder and name of the split; none for a task that is not on the hub."""
    predictions: dict[str, str]
    """Split -> file of its predictions."""
    classes: list[str] = field(default_factory=list)
    """Names of the label's classes on the hub."""
    headers: tuple[str, str] = ("", "")
    """First line of an official table with labels, and of one without."""

    def examples(self, split: str) -> list[Example]:
        kind = "test" if split.startswith("test") else "train" if split == "train" else "validation"
        first = 100 * list(self.official).index(split)
        return [self.make(number, first + number, kind != "test") for number in range(SIZES[kind])]

    def answers(self, split: str) -> dict[str, Container[str] | None]:
        """Return what may be predicted for each example of a split, in the order of the files."""
        return {name: allowed for example in self.examples(split) for name, allowed in example.answers.items()}

    def write_official(self, root: Path) -> Path:
        """Write the official files below `root`."""
        for split, name in self.official.items():
            examples, path = self.examples(split), root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            objects = [example.official for example in examples]
            if path.suffix == ".tsv":
                header = self.headers[split.startswith("test")]
                path.write_text("".join(f"{line}\n" for line in [header, *objects] if line), encoding="utf-8")
            elif path.suffix == ".jsonl":
                path.write_text("".join(json.dumps(entry) + "\n" for entry in objects), encoding="utf-8")
            else:
                path.write_text(json.dumps({"data": objects} if "squad" in name else objects), encoding="utf-8")
            if labels := [example.beside for example in examples if example.beside is not None]:
                path.with_name(f"{path.stem}-labels.lst").write_text("".join(f"{label}\n" for label in labels))
        return root

    def write_hub(self, root: Path) -> Path:
        """Write the hub's files below `root`, with its class labels."""
        import datasets

        known: dict[str, Any] = {}
        for split, name in self.hub.items():
            rows = [row for example in self.examples(split) for row in example.hub]
            known = datasets.Dataset.from_list(rows).features | known  # a list that is empty has no type of its own
            if self.classes:
                known["label"] = datasets.ClassLabel(names=self.classes)
            elif isinstance(rows[0].get("label"), float):
                known["label"] = datasets.Value("float32")
            features = datasets.Features({key: known[key] for key in rows[0]})
            path = root / f"{name}-00000-of-00001.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            datasets.Dataset.from_list(rows, features=features).to_parquet(path)
        return root


def sentence(number: int, cue: int = 0) -> str:
    """Return a sentence of its own for each number, in which a word goes with `cue`."""
    return f"The {THINGS[number % 7]} in room {number} is {CUES[cue]}, they said."


def glue(
    name: str, columns: list[str], lines: tuple[str, str, str, str], classes: list[str], spelled: list[str]
) -> Mini:
    """Return a task of GLUE; `lines` are header and pattern of its tables with labels, and of those without."""

    def make(number: int, own: int, labelled: bool) -> Example:
        label = own % max(2, len(classes))
        values = {"i": number, "a": sentence(own, label), "b": f"It is {CUES[(own // 2) % 2]}.", "number": label}
        values |= {"name": classes[label] if classes else "", "figure": f"{own % 26 / 5:.3f}"}
        known: Any = label if classes else own % 26 / 5
        hub = dict(zip(columns, (values["a"], values["b"]), strict=False))
        hub |= {"label": known if labelled else type(known)(-1), "idx": number}
        allowed = spelled if classes else None
        return Example(lines[1 if labelled else 3].format(**values), [hub], {str(number): allowed})

    splits = ["train", "validation", "test"]
    shown = {split: {"validation": "dev"}.get(split, split) for split in splits}
    predictions = dict.fromkeys(splits[1:], f"{name}.tsv")
    if name == "MNLI":
        splits = ["train", "matched", "mismatched", "test_matched", "test_mismatched"]
        shown = {split: split if "_" in split or split == "train" else f"dev_{split}" for split in splits}
        predictions = {split: "MNLI-mm.tsv" if split.endswith("mismatched") else "MNLI-m.tsv" for split in splits[1:]}
    configuration = name.lower().replace("-", "")
    on_hub = {split: shown[split].replace("dev", "validation") for split in splits}
    return Mini(
        make,
        {split: f"glue/{name}/{file}.tsv" for split, file in shown.items()},
        {split: f"nyu-mll/glue/{configuration}/{file}" for split, file in on_hub.items()},
        predictions,
        classes,
        (lines[0], lines[2]),
    )


def superglue(name: str, make: Make, classes: list[str], configuration: str | None = None) -> Mini:
    files = {"train": "train", "validation": "val", "test": "test"}
    part = configuration or name.lower()
    return Mini(
        make,
        {split: f"superglue/{name}/{file}.jsonl" for split, file in files.items()},
        {split: f"aps/super_glue/{part}/{split}" for split in files},
        dict.fromkeys(["validation", "test"], f"{name}.jsonl"),
        classes,
    )


def diagnostic(name: str, texts: tuple[str, str]) -> Mini:
    """Return one of the two test sets that are answered by a model of RTE; they are their own validation split."""

    def make(number: int, own: int, labelled: bool) -> Example:
        keys = ("premise", "hypothesis") if own < 100 else texts
        pair = {keys[0]: sentence(own, own % 2), keys[1]: f"It is {CUES[own % 2]}."}
        row = pair | {"idx": number, "label": own % 2}
        return Example(row | {"label": ENTAILMENT[own % 2]}, [row], {str(number): ENTAILMENT})

    return Mini(
        make,
        {"train": "superglue/RTE/train.jsonl", "validation": f"superglue/{name}/{name}.jsonl"},
        {"train": "aps/super_glue/rte/train", "validation": f"aps/super_glue/{name.lower().replace('-', '')}/test"},
        {"validation": f"{name}.jsonl"},
        ENTAILMENT,
    )


def qa(files: tuple[str, ...], hub: str, make: Make, predictions: str, classes: list[str] | None = None) -> Mini:
    """Return a task whose files are named one by one: train, validation and perhaps test."""
    splits = ["train", "validation", "test"][: len(files)]
    # WebQuestions has no split beside train and test, so the test split is its validation.
    names = {split: "test" if split == "validation" and "web_questions" in hub else split for split in splits}
    return Mini(
        make,
        dict(zip(splits, files, strict=True)),
        {split: f"{hub}/{name}" for split, name in names.items()},
        dict.fromkeys(splits[1:], predictions),
        classes or [],
    )


ENTAILMENT = ["entailment", "not_entailment"]
