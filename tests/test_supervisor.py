"""Processes are started as one group, watched, and ended together; small scripts stand in for the workers."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from light_peft.supervisor import Workers

SCRIPT = """
import json, os, signal, sys, time
rank = int(os.environ["RANK"])

def report(message, when=0.0):
    values = {"time": when, "message": message, "traceback": f"Traceback of {rank}"}
    open(os.environ["LIGHT_PEFT_ERROR_FILE"], "w").write(json.dumps(values))

def wait():
    time.sleep(60)
"""
"""What every stand-in begins with."""
ENDLESS = "\nwhile True: time.sleep(0.02)\n"


def workers(folder: Path, body: str, count: int = 2, threads: int = 1) -> Workers:
    """Start a group of stand-ins that run `body`."""
    script = folder / "worker.py"
    script.write_text(SCRIPT + body, encoding="utf-8")
    return Workers([sys.executable, str(script)], count, threads, folder)


def ended(folder: Path, body: str) -> Workers:
    group = workers(folder, body)
    group.wait()
    return group


def test_each_process_knows_its_place_and_nothing_of_another_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MASTER_PORT", "ACCELERATE_USE_CPU", "OMPI_COMM_WORLD_RANK", "GROUP_RANK", "TORCHELASTIC_RUN_ID"):
        monkeypatch.setenv(name, "77")
    monkeypatch.delenv("OMP_NUM_THREADS")
    body = "json.dump(dict(os.environ), open(sys.path[0] + f'/{rank}.env', 'w'))"
    group = workers(tmp_path, body, count=3, threads=5)
    group.wait()
    assert group.first_failure() is group.stopped_by() is None
    seen = [json.loads((tmp_path / f"{rank}.env").read_text()) for rank in range(3)]
    assert [(env["RANK"], env["LOCAL_RANK"], env["WORLD_SIZE"], env["LOCAL_WORLD_SIZE"]) for env in seen] == [
        ("0", "0", "3", "3"),
        ("1", "1", "3", "3"),
        ("2", "2", "3", "3"),
    ]
    assert {env["OMP_NUM_THREADS"] for env in seen} == {"5"}
    (port,) = {env["MASTER_PORT"] for env in seen}
    assert int(port) > 1023
    assert {env["MASTER_ADDR"] for env in seen} == {"127.0.0.1"}
    assert not {"ACCELERATE_USE_CPU", "OMPI_COMM_WORLD_RANK", "GROUP_RANK", "TORCHELASTIC_RUN_ID"} & set(seen[0])


def test_the_user_may_set_the_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    body = "sys.exit(os.environ['OMP_NUM_THREADS'] != '3')"
    assert ended(tmp_path, body).first_failure() is None


def test_one_that_is_killed_ends_the_others_and_is_named(tmp_path: Path) -> None:
    """The other's error, which is that of having lost it, is not the reason."""
    body = """
if rank == 1:
    print("the last words", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
report("connection closed by peer")
sys.exit(1)
"""
    group = ended(tmp_path, body)
    assert group.first_failure() == 1
    assert group.user_error(1) is None
    short, whole = group.explain(1)
    assert short == "process 2 of 2 (rank 1) was killed by SIGKILL"
    assert whole == f"{short} (perhaps by the system, for want of memory)\nthe last words"


def test_those_that_wait_for_one_that_failed_are_ended(tmp_path: Path) -> None:
    group = ended(tmp_path, "sys.exit(5) if rank == 0 else wait()")
    assert group.first_failure() == 0
    assert group.explain(0) == ("process 1 of 2 (rank 0) ended with exit code 5",) * 2


def test_the_first_of_two_errors_is_the_reason(tmp_path: Path) -> None:
    group = ended(tmp_path, "report(f'KeyError: {rank}', when=2.0 - rank); sys.exit(1)")
    assert group.first_failure() == 1
    short, whole = group.explain(1)
    assert short == "process 2 of 2 (rank 1) failed: KeyError: 1"
    assert whole == "process 2 of 2 (rank 1) failed:\nTraceback of 1"


def test_what_was_wrong_with_what_was_asked_for_is_told_apart(tmp_path: Path) -> None:
    group = ended(tmp_path, "report('seed=-1: must not be negative'); sys.exit(2)")
    failed = group.first_failure()
    assert failed is not None
    assert group.user_error(failed) == "seed=-1: must not be negative"


def ask(group: Workers, folder: Path, signum: int) -> None:
    """Send this process a signal once the stand-ins are ready, and wait for them."""

    def send() -> None:
        while len(list(folder.glob("*.ready"))) < 2:
            time.sleep(0.02)
        os.kill(os.getpid(), signum)

    sender = threading.Thread(target=send)
    sender.start()
    group.wait()
    sender.join()


READY = "\nopen(sys.path[0] + f'/{rank}.ready', 'w').close()\n"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_gives_all_the_time_to_end_by_themselves(tmp_path: Path, signum: int) -> None:
    """One takes longer, as one that writes a checkpoint does; it is not cut off because the other has ended."""
    body = f"""
def stop(*_):
    time.sleep(1.6 * rank)
    open(sys.path[0] + f"/{{rank}}.whole", "w").close()
    sys.exit(143)
signal.signal(signal.SIGTERM, stop){READY}{ENDLESS}"""
    before = signal.getsignal(signum)
    group = workers(tmp_path, body)
    ask(group, tmp_path, signum)
    assert (group.stopped_by(), group.first_failure()) == (signum, None)
    assert len(list(tmp_path.glob("*.whole"))) == 2
    assert signal.getsignal(signum) is before


def test_a_signal_while_they_start_ends_them(tmp_path: Path) -> None:
    """One has died of it already; what the other then says of its loss is no failure."""
    body = f"""
def stop(*_):
    report("connection closed by peer")
    sys.exit(1)
if rank == 0: signal.signal(signal.SIGTERM, stop){READY}{ENDLESS}"""
    group = workers(tmp_path, body)
    ask(group, tmp_path, signal.SIGINT)
    assert (group.stopped_by(), group.first_failure()) == (signal.SIGINT, None)


def test_workers_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    """Whatever ends it: here SIGKILL, at which nothing can be done any more."""
    worker = tmp_path / "worker.py"
    lines = [
        "import os, sys, time",
        "from light_peft.worker import end_with_parent",
        "end_with_parent()",
        "open(sys.path[0] + f'/{os.environ[\"RANK\"]}.ready', 'w').write(str(os.getpid()))",
        "while True: time.sleep(0.02)",
    ]
    worker.write_text("\n".join(lines), encoding="utf-8")
    starter = f"""
import sys
from pathlib import Path
from light_peft.supervisor import Workers
Workers([sys.executable, {str(worker)!r}], 2, 1, Path({str(tmp_path)!r})).wait()
"""
    parent = subprocess.Popen([sys.executable, "-c", starter])
    try:
        pids = [int(wait_for(tmp_path / f"{rank}.ready")) for rank in range(2)]
    finally:
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 60
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, pids))


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + 120
    while not (path.exists() and path.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return path.read_text()


def is_running(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    if state.parent.parent.joinpath("self").exists():  # Linux: one that nobody has buried yet is not running
        return state.exists() and state.read_text().split()[2] != "Z"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
