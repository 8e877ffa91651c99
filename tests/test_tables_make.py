"""The paper's tables: what make asks for composes, each row differs from another in what it says, headers are true."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from light_peft import door
from light_peft.config import Config
from light_peft.peft_modules import all_kinds
from light_peft.pruning.criteria import criterion_names
from light_peft.validation import check
from miniatures import main as write_miniatures
from test_config import CONF, composed

ROOT = CONF.parent
TABLES = ["glue", "superglue", "squad", "qa", "efficiency", "ablation", "criteria"]
SCALES = ["smoke", "small", "paper"]
METHODS = sorted(path.stem for path in (CONF / "method").glob("*.yaml"))
PLAIN = {"prune.method": "none", "prune.attn": 0, "prune.ffn": 0, "prune.peft_module": 0, "prune.peft_rank": 0}
TOP = {"prune.module_depth": 1.0}
MASK = {"prune.criterion": "mask"}
DIFFERENCES: dict[tuple[str, str], dict[str, Any]] = {
    ("lora_light_33", "lora"): PLAIN,
    ("lora", "lora_qv"): {"peft.targets": ["query", "value"]},
    ("lora", "full"): {"peft.kind": "full", "peft.targets": [], "train.learning_rate": 5e-5},
    ("full", "full_large"): {"train.learning_rate": 2e-5},
    ("bottleneck_light_33", "bottleneck"): PLAIN,
    ("lora_light_33", "lora_light_20"): {"prune.attn": 0.2, "prune.ffn": 0.2},
    ("lora_light_33", "lora_light_50"): {"prune.attn": 0.5, "prune.ffn": 0.5},
    ("lora_light_33", "lora_random_33"): {"prune.criterion": "random"},
    ("lora_light_33", "lora_layer_33"): {"prune.criterion": "layer"},
    ("lora_light_33", "lora_taylor_33"): {},
    ("lora_light_33", "lora_fisher_33"): {"prune.criterion": "fisher"},
    ("lora_light_33", "lora_magnitude_33"): {"prune.criterion": "magnitude"},
    ("lora_light_33", "lora_gradient_33"): {"prune.criterion": "lora_gradient"},
    ("lora_light_33", "lora_mask_33"): MASK,
    ("lora_mask_33", "lora_mask_33_nofold"): {"prune.fold_masks": False},
    ("lora_light_33", "lora_foundation_33"): {"prune.peft_module": 0, "prune.peft_rank": 0},
    ("lora_light_33", "lora_peft_only"): {"prune.attn": 0, "prune.ffn": 0},
    ("lora_light_33", "lora_modules_33"): {"prune.peft_rank": 0},
    ("lora_light_33", "lora_ranks_33"): {"prune.peft_module": 0},
    ("lora_light_33", "lora_top_33"): TOP,
    ("lora_top_33", "lora_fast_33"): {
        "estimate.micro_batches": 4,
        "prune.round_to": 16,
        "train.prefix_cache": "eval",
    },
}
"""Two methods -> all that the second one sets otherwise, beside its label."""
FAKE_PYTHON = """#!/bin/sh
echo "$@" >> {log}
case "$*" in *"-m {failing}"*) exit {code} ;; esac
"""


def make(*words: str) -> subprocess.CompletedProcess[str]:
    """Give make these words; the environment is taken as it is."""
    if shutil.which("make") is None:
        pytest.skip("needs make, which is not there")
    command = ["make", "-o", ".venv/.installed", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def asked(*words: str) -> list[str]:
    """Return the words of the sweep that a table's target runs."""
    shown = make("-n", *words)
    assert shown.returncode == 0, shown.stderr
    (command,) = re.findall(r"\(set -x; (.*?) *\) \|\| status", shown.stdout, re.DOTALL)
    start, *rest = shlex.split(command.replace("\\\n", " "))
    assert start.endswith("/python")
    assert rest[:3] == ["-m", "run", "-m"]
    return rest[3:]


def assert_composes(words: list[str], folder: Path) -> None:
    """The last cell of the sweep may start, its data below `folder`."""
    local = [f"data.dir={folder}" if word.startswith("data.dir=") else word for word in words]
    cell = [re.sub(r"=.*", f"={word.split('=', 1)[1].split(',')[-1]}", word) for word in local]
    check(composed(*[word for word in cell if not word.startswith("hydra.")]), all_kinds(), criterion_names())


@cache
def method(name: str) -> Config:
    """Return what a method composes to by itself."""
    return composed(f"method={name}")


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("table", TABLES)
def test_a_table_asks_for_cells_that_may_start(tmp_path: Path, table: str, scale: str) -> None:
    words = asked(f"table-{table}", f"SCALE={scale}")
    assert_composes(words, tmp_path)
    values = dict(word.split("=", 1) for word in words)
    assert values["experiment"] == f"table_{table}"
    assert values["hydra.sweep.dir"] == f"outputs/tables/{table}_{scale}"
    for group in ("task", "method"):
        names = values[group].split(",")
        assert len(set(names)) == len(names)
        assert set(names) <= set(door.options_of(group))
    assert ("data.dir" in values) == (scale == "smoke")


def test_every_method_is_in_a_table() -> None:
    asked_of = [
        word for table in TABLES for scale in ("small", "paper") for word in asked(f"table-{table}", f"SCALE={scale}")
    ]
    listed = {name for word in asked_of for name in word.split("=")[-1].split(",")}
    assert set(METHODS) <= listed


def test_the_command_line_replaces_what_a_table_asks() -> None:
    given = ("TASKS=rte", "METHODS=lora", "SEEDS=7", "MODEL=bert_base", "DATA=here", "OUT=there", "ARGS=train.epochs=2")
    words = asked("table-glue", "SCALE=small", *given)
    assert words == [
        *("experiment=table_glue", "scale=small", "model=bert_base", "task=rte", "method=lora", "seed=7"),
        *("data.dir=here", "hydra.sweep.dir=there", "train.epochs=2"),
    ]


def test_a_scale_that_is_none_is_refused() -> None:
    refused = make("table-glue", "SCALE=smal")
    assert refused.returncode == 2
    assert "SCALE=smal: must be smoke, small or paper" in refused.stderr


@pytest.mark.parametrize(("failing", "code"), [("run", 3), ("light_peft.report", 4), ("nothing", 0)])
def test_the_table_is_written_and_the_exit_code_is_that_of_what_failed(tmp_path: Path, failing: str, code: int) -> None:
    python, log = tmp_path / "python", tmp_path / "log"
    python.write_text(FAKE_PYTHON.format(log=log, failing=failing, code=code))
    python.chmod(0o755)
    built = make("table-glue", "SCALE=small", f"BIN={tmp_path}", f"OUT={tmp_path}/glue")
    assert (built.returncode != 0) == (code != 0)
    assert code == 0 or f"Error {code}" in built.stderr
    sweep, report = log.read_text().splitlines()
    assert sweep.startswith("-m run -m experiment=table_glue scale=small")
    assert report == f"-m light_peft.report {tmp_path}/glue --tables {tmp_path}/glue --print"


def values_of(name: str) -> dict[str, Any]:
    """Return the settings of a method by dotted key, without the label."""
    values = dict(flat(asdict(method(name)), ""))
    del values["label"]
    return values


def flat(values: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


@pytest.mark.parametrize(("one", "other"), DIFFERENCES, ids=lambda name: str(name))
def test_two_methods_differ_in_what_they_say(one: str, other: str) -> None:
    first, second = values_of(one), values_of(other)
    assert {key: value for key, value in second.items() if value != first[key]} == DIFFERENCES[one, other]


def test_every_method_is_held_against_another() -> None:
    others = {name for pair in DIFFERENCES for name in pair}
    assert others | {"lora_reference"} == set(METHODS)


def test_labels_tell_methods_apart() -> None:
    labels = [method(name).label for name in METHODS if name != "full_large"]  # stands for `full`, never beside it
    assert None not in labels
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("scale", SCALES)
def test_a_scale_says_how_long_and_a_method_what(scale: str) -> None:
    alone = composed(f"scale={scale}")
    published = composed(f"scale={scale}", "method=lora_reference", "experiment=table_glue")
    assert published.estimate.steps == alone.estimate.steps
    assert (published.prune.criterion, published.prune.compare) == ("mask", "signed")
    full = composed(f"scale={scale}", "method=full", "experiment=table_glue")
    assert full.train.learning_rate < alone.train.learning_rate
    assert (full.model.name, full.train.max_steps) == (alone.model.name, alone.train.max_steps)


def test_the_published_settings_are_those_of_the_paper_scale() -> None:
    config = composed("scale=paper", "method=lora_reference", "task=sst2")
    peft, train = config.peft, config.train
    assert (peft.r, peft.alpha, peft.dropout, len(peft.targets)) == (8, 16, 0.05, 6)
    assert (train.batch_size, config.max_length, train.learning_rate, train.epochs) == (32, 128, 3e-4, 10)
    assert (config.model.name, config.estimate.steps, train.max_steps) == ("roberta_large", 800, None)


def header_commands() -> Iterator[tuple[str, str]]:
    """Yield experiment and command for all that stand in the heads of its file."""
    for path in sorted((CONF / "experiment").glob("*.yaml")):
        head = path.read_text(encoding="utf-8").replace("\\\n#", "")
        for command in re.findall(r"^#   (python .*|make [a-z-]+(?: [A-Z]+=\S+)*)", head, re.MULTILINE):
            yield path.stem, command


def test_every_experiment_says_how_to_run_it() -> None:
    said = {name for name, _ in header_commands()}
    assert said == {path.stem for path in (CONF / "experiment").glob("*.yaml")}


@pytest.mark.parametrize(("name", "command"), list(header_commands()), ids=lambda value: str(value))
def test_a_command_at_the_head_of_an_experiment_may_start(tmp_path: Path, name: str, command: str) -> None:
    start, *words = shlex.split(command)
    if start == "make":  # what it asks for is held above
        assert words[0] == f"table-{name.removeprefix('table_')}"
        assert f"experiment={name}" in asked(*words)
    elif words[:2] == ["-m", "run"]:
        assert f"experiment={name}" in words
        assert_composes([word for word in words[2:] if word != "-m" and "glob(" not in word], tmp_path)
    else:
        assert words[:2] == ["-m", "light_peft.report"] or (ROOT / words[0]).is_file()


def test_miniatures_are_the_same_files_each_time(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        write_miniatures(tmp_path / folder, ["rte", "copa", "squad", "stsb"])
    one, other = (
        {path.relative_to(tmp_path / folder): path.read_bytes() for path in (tmp_path / folder).rglob("*.*")}
        for folder in ("one", "other")
    )
    assert one == other
    assert len(one) == 3 + 3 + 2 + 3


def test_a_miniature_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="rtee: no such miniature; there are: cola,"):
        write_miniatures(tmp_path, ["rtee"])
