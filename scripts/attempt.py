"""The real command in a process of its own: follow its log, and kill it or one of its ranks."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil

from light_peft import artifacts

RUN = "run"
"""Name of the run's folder in the folder in which the command is given."""
PATIENCE = 300.0
"""Seconds until an attempt counts as hanging."""
GRACE = 60.0
"""Seconds that the other processes have to end behind a kill."""
LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) [A-Z]+ (.*)")
MARK = re.compile(r"(\w+) (begins|ends)")


@dataclass
class Attempt:
    """The command in a process of its own; `since` is where its part of the log begins."""

    process: subprocess.Popen[bytes]
    cwd: Path
    since: int
    began: float

    @classmethod
    def start(cls, cwd: Path, words: Sequence[str]) -> "Attempt":
        """Start the command in `cwd`, with a cache of its own, so that loading is not skipped."""
        cwd.mkdir(parents=True, exist_ok=True)
        log = cwd / RUN / artifacts.LOG
        since = log.stat().st_size if log.exists() else 0
        with (cwd / "output.txt").open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "run", *words, f"run_dir={RUN}"],
                cwd=cwd,
                env={**os.environ, "XDG_CACHE_HOME": str(cwd / "cache"), "OMP_NUM_THREADS": "1"},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return cls(process, cwd, since, time.monotonic())

    def lines(self) -> list[tuple[float, str]]:
        """Return what this attempt has added to the log."""
        return log_lines(self.cwd / RUN / artifacts.LOG, self.since)

    def phase(self) -> str:
        """Return the phase that the log shows it in."""
        inside = ["load"]  # it begins with the process, before the log says so
        for mark in filter(None, (MARK.fullmatch(text) for _, text in self.lines())):
            if mark[2] == "ends":
                inside.remove(mark[1])
            elif mark[1] not in inside:
                inside.append(mark[1])
        return inside[-1] if inside else "between"

    def wait_for(self, phase: str) -> bool:
        """Wait until the phase begins; False if the process ended first."""
        while self.process.poll() is None:
            if phase == "load" or any(text == f"{phase} begins" for _, text in self.lines()):
                return True
            self._check_time()
            time.sleep(0.005)
        return False

    def end(self) -> int:
        """Wait for the end and return the exit code."""
        while self.process.poll() is None:
            self._check_time()
            time.sleep(0.02)
        return self.process.returncode

    def kill(self, victim: str) -> bool:
        """Kill the process or one of its ranks and wait for the end of all; whether it was there to be killed."""
        while self.process.poll() is None:
            others = psutil.Process(self.process.pid).children(recursive=True)
            family = {"parent": self.process.pid} | {f"rank {rank_of(child)}": child.pid for child in others}
            if victim in family:
                break
            self._check_time()
            time.sleep(0.02)  # its ranks are not there yet
        else:
            return False
        with suppress(ProcessLookupError):  # it may have ended just now
            os.kill(family[victim], signal.SIGKILL)
        left = self._still_there(others)
        for process in left:
            process.kill()
        self.process.wait()
        if left:
            raise TimeoutError(f"{len(left)} processes were still there {GRACE:.0f} s behind the kill of {victim}")
        return self.process.returncode != 0  # else it was done already

    def _still_there(self, others: Sequence[psutil.Process]) -> list[psutil.Process]:
        """Wait for the end of all and return those that do not end."""
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            return [psutil.Process(self.process.pid), *others]
        return psutil.wait_procs(others, timeout=GRACE)[1]

    def _check_time(self) -> None:
        if time.monotonic() - self.began > PATIENCE:
            raise TimeoutError(f"an attempt has not ended after {PATIENCE:.0f} s; see {self.cwd / 'output.txt'}")


def rank_of(process: psutil.Process) -> str | None:
    """Return the rank of a process of the group, None of any other."""
    try:
        return process.environ().get("RANK")
    except psutil.Error:
        return None


def log_lines(log: Path, since: int = 0) -> list[tuple[float, str]]:
    """Return time and text of each line of a log from byte `since` on."""
    if not log.exists():
        return []
    with log.open("rb") as file:
        file.seek(since)
        found = map(LINE.fullmatch, file.read().decode("utf-8", "replace").splitlines())
    return [(datetime.strptime(m[1], "%Y-%m-%d %H:%M:%S,%f").timestamp(), m[2]) for m in found if m is not None]
