"""What whole runs cost, estimation counted: Light-PEFT beside plain PEFT of the same number of optimizer steps.

    python scripts/bench_runs.py OUT --steps 300 --estimation 30 [--seeds 1,2,3] [--ladder] [--json FILE] WORD ...

The words are those of `python -m run` and the same for all cases (task=sst2 data.dir=DATA model=minilm ...). Each case
is one command in a process of its own, with its folder OUT/<case>/<seed>; a finished one is not run again. For each
seed the cases take turns, and every figure is a ratio to plain PEFT of that seed.

The cases of a share add one means after the other, so that each one's part shows: the cut alone, FFN widths in
multiples, PEFT modules kept in the upper layers, the lower layers computed once per example, and, for memory,
estimation in small parts; without --ladder just the last two, the fastest and the smallest. Seconds are those of the
record's phases, loading and evaluation included (`time`), or those of estimation, surgery and training (`steps' time`).
Memory is the highest resident memory of the process (allocated memory on a GPU), and that less what it held before
loading.
"""

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from light_peft.artifacts import RunRecord
from light_peft.report.statistics import spread

BASELINE = "plain"
SHARES = {"1/3": "0.3333333333333333", "1/2": "0.5"}
MEANS = {
    "the cut": [],
    "widths of 16": ["prune.round_to=16"],
    "modules from the top": ["prune.module_depth=1"],
    "prefix once": ["train.prefix_cache=eval"],
    "estimation in 4 parts": ["estimate.micro_batches=4"],
}
"""What is added, one after the other, and its words."""
COLUMNS = ("time", "steps' time", "memory", "memory net", "score")


@dataclass(frozen=True)
class Case:
    """One way of running; the words come behind the common ones."""

    name: str
    words: tuple[str, ...]

    @property
    def folder(self) -> str:
        """Name of its folder."""
        return "".join(letter if letter.isalnum() else "-" for letter in self.name)


def cases(steps: int, estimation: int, *, ladder: bool) -> list[Case]:
    """Return all cases of `steps` optimizer steps; without `ladder` of each share the fastest and the smallest one."""
    plain = ("prune=none", f"train.max_steps={steps}")
    found = [Case(BASELINE, plain), Case("plain, query and value", (*plain, "peft.targets=[query,value]"))]
    for name, share in SHARES.items():
        words = [f"train.max_steps={steps - estimation}", f"estimate.steps={estimation}"]
        words += [f"prune.attn={share}", f"prune.ffn={share}"]
        for number, (means, added) in enumerate(MEANS.items()):
            words += added
            if ladder or number >= len(MEANS) - 2:
                found.append(Case(f"{name}{', +' if number else ', '} {means}".replace("  ", " "), tuple(words)))
    return found


def record_of(case: Case, seed: int, common: list[str], folder: Path) -> RunRecord:
    """Return the record of one case, which is run if it is not there."""
    own = folder / case.folder / str(seed)
    words = [sys.executable, "-m", "run", *common, *case.words, f"seed={seed}", f"run_dir={own}"]
    sys.stderr.write(f"{shlex.join(words[1:])}\n")
    ended = subprocess.run(words, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if ended.returncode:
        raise SystemExit(f"{ended.stdout[-4000:]}\nexit code {ended.returncode}: {shlex.join(words)}")
    return RunRecord.read(own)


def figures_of(record: RunRecord) -> dict[str, float]:
    """Return what is compared."""
    peak = record.totals["peak_memory_bytes"]
    return {
        "time": record.totals["seconds"],
        "steps' time": sum(record.phases[name]["seconds"] for name in ("estimate", "surgery", "train")),
        "memory": peak,
        "memory net": peak - record.totals["memory_at_start_bytes"],
        "score": record.score or 0.0,
    }


def line(name: str, found: list[dict[str, float]], plain: list[dict[str, float]]) -> str:
    """Return one row of the table: ratios to plain PEFT of the same seed, the score as it is."""
    cells = [name]
    for column in COLUMNS:
        if column == "score":
            cells.append(spread([100 * one[column] for one in found], 1))
            continue
        ratios = [one[column] / other[column] for one, other in zip(found, plain, strict=True)]
        cells.append(spread(ratios, 2))
    return " | ".join(cells)


def content_of(found: dict[str, list[RunRecord]], words: list[str]) -> dict[str, Any]:
    """Return what the JSON file holds: figures and phases of every run, and what they ran on."""
    first = found[BASELINE][0]
    runs = {
        name: [figures_of(record) | {"seed": record.seed, "phases": record.phases} for record in records]
        for name, records in found.items()
    }
    return {"hardware": first.hardware, "versions": first.versions, "command": words, "runs": runs}


def main(say: Callable[[str], object] = lambda text: sys.stdout.write(f"{text}\n")) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, required=True, help="optimizer steps of every case, estimation included")
    parser.add_argument("--estimation", type=int, required=True, help="how many of them estimate")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--ladder", action="store_true", help="also the cases with some of the means only")
    parser.add_argument("--only", default="", help="beginnings of the names of further cases, comma-separated")
    parser.add_argument("--json", type=Path)
    parser.add_argument("words", nargs="*")
    asked = parser.parse_intermixed_args()
    wanted = tuple(asked.only.split(","))
    chosen = [
        case
        for case in cases(asked.steps, asked.estimation, ladder=asked.ladder)
        if case.name == BASELINE or case.name.startswith(wanted)
    ]
    found: dict[str, list[RunRecord]] = {case.name: [] for case in chosen}
    for seed in map(int, asked.seeds.split(",")):
        for case in chosen:
            found[case.name].append(record_of(case, seed, asked.words, asked.out))
    plain = [figures_of(record) for record in found[BASELINE]]
    say(" | ".join(("case", *COLUMNS)))
    for name, records in found.items():
        say(line(name, [figures_of(record) for record in records], plain))
    if asked.json is not None:
        text = json.dumps(content_of(found, asked.words), indent=1)
        asked.json.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
