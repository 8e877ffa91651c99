"""Kill a run again and again, resume it by the same command, and hold what it leaves against an undisturbed run.

    python scripts/kill_harness.py FOLDER --kills 30 --processes 1 --seed 0 [key=value ...]

Every attempt is the real command in a process of its own. A kill is a SIGKILL, aimed at one of the phases load,
estimate, surgery, train, evaluate and save: it waits until `run.log` says that the phase has begun, and then a random
share of the time that the phase took undisturbed; load begins with the process. With several processes it hits the
launching process or one of the ranks, and the others must end by themselves.

It prints one line for each kill and writes FOLDER/kills.json; FOLDER must be new. The exit code is 0 if every run
ended equal to the undisturbed one (all files to the bit; the record but for seconds, memory and `resumed`), went on
from the newest checkpoint there was, and repeated at most one interval between checkpoints.
"""

import argparse
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from attempt import RUN, Attempt, log_lines
from light_peft import artifacts
from run_differences import differences

PHASES = ("load", "estimate", "surgery", "train", "evaluate", "save")
SMALL = ("debug=smoke", "runtime.device=cpu", "estimate.steps=12", "train.max_steps=24", "checkpoint.steps=3")
"""A run of half a minute in which every phase takes a moment."""
KILLS_PER_RUN = 5
BEGINNING, END = "the beginning", "its end"
WRITTEN = re.compile(r"checkpoint behind step (\d+) of (\w+)")
RESUMED = re.compile(r"goes on behind step (\d+) of (\w+)")


@dataclass
class Kill:
    """One kill: what was aimed at, what was hit, and where the run went on."""

    aimed: str
    share: float
    victim: str
    hit: str = ""
    second: float = 0.0
    resumed: str = BEGINNING
    problems: list[str] = field(default_factory=list)


def undisturbed(cwd: Path, words: Sequence[str]) -> dict[str, float]:
    """Run the command to its end; return the seconds of each phase.

    Raises:
        ValueError: If it fails.
    """
    attempt = Attempt.start(cwd, words)
    if code := attempt.end():
        raise ValueError(f"the undisturbed run ended with {code}; see {cwd / 'output.txt'}")
    took = time.monotonic() - attempt.began
    began: dict[str, float] = {}
    for at, text in (lines := attempt.lines()):
        began.setdefault(text, at)
    seconds = {name: began[f"{name} ends"] - began[f"{name} begins"] for name in PHASES[1:-1]}
    seconds["save"] = max(0.05, (cwd / RUN / artifacts.RECORD).stat().st_mtime - began["save begins"])
    return {"load": took - (lines[-1][0] - began["load ends"]), **seconds}


def learn(seconds: dict[str, float], attempt: Attempt) -> None:
    """Take the shortest time in which a phase was seen from its beginning to its end: a busy machine is slower."""
    at = {text: at for at, text in reversed(attempt.lines())}  # the first time each was said
    is_resumed = any(RESUMED.fullmatch(text) for text in at)
    for name in ("surgery",) if is_resumed else PHASES[1:-1]:  # the others may have had less to do
        if f"{name} ends" in at:
            seconds[name] = min(seconds[name], at[f"{name} ends"] - at[f"{name} begins"])


def newest_state(run_dir: Path) -> str:
    """Return where a run that is killed now goes on: stage and step of the newest checkpoint there is, or its end."""
    if (run_dir / artifacts.RECORD).exists() and artifacts.RunRecord.read(run_dir).status == "finished":
        return END
    names = [path.name.split("-") for path in (run_dir / artifacts.CHECKPOINTS).glob("[0-9]*-*-*")]
    return "-".join(max(names, key=lambda parts: int(parts[0]))[1:]) if names else BEGINNING


@dataclass
class Outcome:
    """One run that was killed: the kills that hit, and what is wrong with it now."""

    kills: list[Kill] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def killed_and_resumed(cwd: Path, words: Sequence[str], kills: Sequence[Kill], seconds: dict[str, float]) -> Outcome:
    """Kill a run in this order and resume it each time, at last to its end."""
    outcome, expected = Outcome(), ""
    for kill in [*kills, None]:
        attempt = Attempt.start(cwd, words)
        is_hit = kill is not None and attempt.wait_for(kill.aimed) and struck(attempt, kill, seconds[kill.aimed])
        code = attempt.end()
        learn(seconds, attempt)
        if outcome.kills:
            note_resume(outcome.kills[-1], attempt, expected)
        if kill is not None and is_hit:
            outcome.kills.append(kill)
            expected = newest_state(cwd / RUN)
            kill.hit = "exit" if expected == END else kill.hit
        elif code:
            said = (cwd / "output.txt").read_text(encoding="utf-8", errors="replace")
            outcome.problems.append(f"an attempt ended with {code}: {said[-300:]}")
            break
        else:
            break
    return outcome


def struck(attempt: Attempt, kill: Kill, seconds: float) -> bool:
    """Strike behind the kill's share of a phase that takes so long, or when it ends before that; whether it hit."""
    until = time.monotonic() + kill.share * seconds
    while time.monotonic() < until and not any(text == f"{kill.aimed} ends" for _, text in attempt.lines()):
        time.sleep(0.002)
    kill.second, before = round(time.monotonic() - attempt.began, 2), attempt.phase()
    try:
        is_hit = attempt.kill(kill.victim)
    except TimeoutError as error:
        is_hit = True
        kill.problems.append(str(error))
    kill.hit = attempt.phase() if kill.victim == "parent" else before  # the other ranks still say how they end
    return is_hit


def note_resume(kill: Kill, attempt: Attempt, expected: str) -> None:
    """Note where the attempt behind a kill went on; one that was killed before it could say so does not count."""
    found = [match for _, text in attempt.lines() if (match := RESUMED.fullmatch(text))]
    began = any(text == "load begins" for _, text in attempt.lines())
    if found:
        kill.resumed = f"{found[0][2]}-{found[0][1]}"
    elif not began:
        kill.resumed = expected
    if kill.resumed != expected:
        kill.problems.append(f"went on from {kill.resumed}, the newest checkpoint was {expected}")


def gaps(log: Path) -> Iterator[tuple[str, int]]:
    """Yield stage and number of steps between one checkpoint and the next, or the beginning of its stage."""
    stage, step = "", 0
    for _, text in log_lines(log):
        if match := WRITTEN.fullmatch(text) or RESUMED.fullmatch(text):
            behind = step if match[2] == stage and int(match[1]) >= step else 0
            if WRITTEN.fullmatch(text) and match[2] != "evaluate":
                yield match[2], int(match[1]) - behind
            stage, step = match[2], int(match[1])


def aims(count: int, processes: int, rng: random.Random) -> list[list[Kill]]:
    """Return so many kills in groups, one group for each run: all phases alike, in the order of a run."""
    victims = ["parent", *(f"rank {rank}" for rank in range(processes))] if processes > 1 else ["parent"]
    kills = [Kill(PHASES[i % len(PHASES)], rng.random(), rng.choice(victims)) for i in range(count)]
    rng.shuffle(kills)
    groups = [kills[first : first + KILLS_PER_RUN] for first in range(0, count, KILLS_PER_RUN)]
    for group in groups:  # a process loads whenever it begins
        group.sort(key=lambda kill: rng.random() * len(PHASES) if kill.aimed == "load" else PHASES.index(kill.aimed))
    return groups


def harness(folder: Path, words: Sequence[str], count: int, processes: int, seed: int) -> list[Outcome]:
    """Return what became of runs that were killed `count` times in all."""
    words, rng = [*SMALL, f"runtime.processes={processes}", *words], random.Random(seed)
    seconds = undisturbed(folder / "undisturbed", words)
    interval = int(re.findall(r"checkpoint\.steps=(\d+)", " ".join(words))[-1])
    outcomes: list[Outcome] = []
    while (left := count - sum(len(outcome.kills) for outcome in outcomes)) > 0 and len(outcomes) < count:
        for group in aims(left, processes, rng):
            cwd = folder / f"killed-{len(outcomes):02d}"
            outcome = killed_and_resumed(cwd, words, group, seconds)
            if not outcome.problems:
                outcome.problems += differences(folder / "undisturbed" / RUN, cwd / RUN)
            repeats = [
                f"{steps} steps of {stage}" for stage, steps in gaps(cwd / RUN / artifacts.LOG) if steps > interval
            ]
            outcome.problems += [f"no checkpoint within {text}" for text in repeats]
            outcomes.append(outcome)
            show(cwd.name, outcome)
    return outcomes


def show(name: str, outcome: Outcome) -> None:
    """Print a run's kills."""
    for kill in outcome.kills:
        what = f"{name}  aimed at {kill.aimed:9} hit {kill.hit:9} {kill.victim:7} at {kill.second:6.2f} s"
        print(f"{what}  went on from {kill.resumed:14} {'; '.join(kill.problems) or 'ok'}")
    print("\n    ".join([f"{name}  {'' if outcome.problems else 'equal'}", *outcome.problems[:10]]), flush=True)


def main() -> None:
    """Run the harness on the command line's words."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options, words = parser.parse_known_args()
    options.folder.mkdir(parents=True)
    outcomes = harness(options.folder, words, options.kills, options.processes, options.seed)
    artifacts.write_json(options.folder / "kills.json", [asdict(outcome) for outcome in outcomes])
    kills = [kill for outcome in outcomes for kill in outcome.kills]
    good = [kill for outcome in outcomes for kill in outcome.kills if not (outcome.problems or kill.problems)]
    print(f"{len(good)} of {len(kills)} kills ended equal; hit {dict(Counter(kill.hit for kill in kills))}")
    sys.exit(len(good) < len(kills) or len(kills) < options.kills)


if __name__ == "__main__":
    main()
