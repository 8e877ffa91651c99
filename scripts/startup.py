"""From the command to the first training step: seconds, beside those of bare imports, in turns.

    python scripts/startup.py [--rounds 5] [WORD ...]

Words are those of a run (model=..., runtime.threads=2, ...); without any it is the embedded demo. Each round starts one
after the other `python -c "import torch, transformers, peft"`, a run of one step of estimation and one of training,
`python -m run --help` and a command with a mistake, each in a process of its own. When the run did what is read from
its log. Printed are medians and the least and the most of the rounds; the ratio is the median of those of the rounds.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

BARE = ["-c", "import torch, transformers, peft"]
SHORT = ["estimate.steps=1", "train.max_steps=1", "save.model=false", "runtime.processes=1"]
MISTAKE = ["-m", "run", "task=no_such_task"]
STAGES = {
    "python, composition, imports": "load begins",
    "data": "validation: ",
    "model, PEFT, tokens": "load ends",
    "first step": "estimate: step 1 of 1",
}
"""What a run does up to its first step, and how the line of its log begins that ends it."""


def seconds_of(words: list[str]) -> float:
    """Return how long python runs with these words."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *words], capture_output=True, check=False)
    return time.perf_counter() - began


def stages_of(words: list[str]) -> dict[str, float]:
    """Return the seconds of each stage of a run up to its first step."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.time()
        command = [sys.executable, "-m", "run", *SHORT, f"run_dir={folder}/run", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
        return stages_in(Path(folder) / "run" / "run.log", began)


def stages_in(log: Path, began: float) -> dict[str, float]:
    """Return the seconds of each stage by the log of a run whose process was started at `began`."""
    lines = log.read_text(encoding="utf-8").splitlines()
    found, before = {}, began
    for stage, beginning in STAGES.items():
        found[stage] = (now := moment_of(lines, beginning)) - before
        before = now
    return found


def moment_of(lines: list[str], beginning: str) -> float:
    """Return when the first message that begins so was logged, in seconds of the clock."""
    for line in lines:
        date, clock, _, message = line.split(" ", 3)
        if message.startswith(beginning):
            return datetime.strptime(f"{date} {clock}", "%Y-%m-%d %H:%M:%S,%f").timestamp()
    raise SystemExit(f"the log has no line that begins with {beginning!r}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("words", nargs="*")
    asked = parser.parse_intermixed_args()
    seconds: dict[str, list[float]] = {}
    for _ in range(asked.rounds):
        stages = stages_of(asked.words)
        bare = seconds_of(BARE)
        rest = {"--help": seconds_of(["-m", "run", "--help"]), "a mistake": seconds_of(MISTAKE)}
        first = sum(stages.values())
        for name, figure in {"bare imports": bare, "to the first step": first, **stages, **rest}.items():
            seconds.setdefault(name, []).append(figure)
        seconds.setdefault("ratio", []).append(first / bare)
    print("what | s, median | least | most")
    for name, figures in seconds.items():
        print(f"{name} | {statistics.median(figures):.2f} | {min(figures):.2f} | {max(figures):.2f}")


if __name__ == "__main__":
    main()
