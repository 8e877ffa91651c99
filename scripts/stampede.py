"""Start many runs at the same moment in one folder and look whether any two got in each other's way.

    python scripts/stampede.py --runs 50

Each is the smallest whole run (`debug=smoke`, one step, one thread), all share outputs/ and the cache of encoded
examples. Wanted: every one ends with exit code 0, in a folder of its own, with a whole record and a log of one run.
A run takes about 0.5 GiB; of the memory that is left the lowest is printed (Linux).
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from light_peft import artifacts
from light_peft.artifacts import RunRecord

WORDS = ("debug=smoke", "runtime.threads=1", "runtime.device=cpu", "train.max_steps=1", "estimate.steps=1")
MEMORY = Path("/proc/meminfo")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50, help="how many are started at once")
    parser.add_argument("words", nargs="*", help="further words of the command, such as runtime.processes=2")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="stampede-") as name:
        folder = Path(name)
        began = time.time()
        processes = [start(folder, number, asked.words) for number in range(asked.runs)]
        started, lowest = time.time() - began, available()
        while any(process.poll() is None for process in processes):
            lowest = min(lowest, available())
            time.sleep(0.5)
        problems = [*bad_ends(folder, processes), *bad_folders(folder, asked.runs)]
        print(f"{asked.runs} runs started within {started:.1f} s, all ended after {time.time() - began:.0f} s")
        print(f"exit codes: {dict(Counter(process.returncode for process in processes))}")
        records = list(folder.glob(f"outputs/*/*/{artifacts.RECORD}"))
        print(f"folders with a record: {len(records)}; names that were taken already: {taken(records)}")
        print(f"lowest memory available: {lowest / 2**20:.1f} GiB")
    for problem in problems:
        print(problem)
    print("no collision" if not problems else f"{len(problems)} problems")
    return int(bool(problems))


def start(folder: Path, number: int, words: list[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "run", *WORDS, f"data.cache_dir={folder / 'cache'}", *words]
    with (folder / f"{number}.txt").open("wb") as said:
        return subprocess.Popen(command, cwd=folder, stdout=said, stderr=said, stdin=subprocess.DEVNULL)


def available() -> int:
    """KiB of memory that the system could still give."""
    lines = MEMORY.read_text().splitlines() if MEMORY.exists() else []
    return next((int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), 0)


def bad_ends(folder: Path, processes: list[subprocess.Popen[bytes]]) -> list[str]:
    problems = []
    for number, process in enumerate(processes):
        if process.returncode:
            tail = (folder / f"{number}.txt").read_text(encoding="utf-8", errors="replace")[-500:]
            problems.append(f"run {number} ended with {process.returncode}: {tail}")
    return problems


def bad_folders(folder: Path, runs: int) -> list[str]:
    places = [path.parent for path in folder.glob(f"outputs/*/*/{artifacts.RECORD}")]
    problems = [problem for place in places if (problem := bad_folder(place))]
    if len(places) != runs:
        problems.append(f"{len(places)} folders for {runs} runs")
    if left := [str(path.relative_to(folder)) for path in folder.rglob("*.part")]:
        problems.append(f"left behind: {left}")
    return problems


def bad_folder(place: Path) -> str:
    """What is wrong with what a run has left; empty if nothing is."""
    try:
        record = RunRecord.read(place)
        artifacts.verify_checksums(place)
    except ValueError as error:
        return str(error)
    log = (place / artifacts.LOG).read_text(encoding="utf-8")
    if record.status != "finished" or record.score is None:
        return f"{place.name}: {record.status}, {record.error}"
    if log.count("of the blocks") != 1 or f"accuracy {record.score:.4f}" not in log:
        return f"{place.name}: its log is not that of one run"
    return ""


def taken(records: list[Path]) -> int:
    """How many runs found the name they wanted taken, and took one with a number."""
    return sum(path.parent.name.rpartition("-")[2].isdecimal() for path in records)


if __name__ == "__main__":
    sys.exit(main())
