"""`python -m light_peft.worker RUN_DIR`: one of the processes of a run whose group is made already.

`python -m light_peft.worker REQUEST.json`: a whole run that shall have a process of its own.
"""

import ctypes
import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from rich.console import Console

from light_peft import artifacts, launchers
from light_peft.config import config_from_dict
from light_peft.imports import uncollected
from light_peft.interrupts import Interrupted
from light_peft.supervisor import ERROR_FILE
from light_peft.writing import whole_file

PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """End this process at once when the one that started it is gone: its end of our standard input closes then.

    Linux is asked to see to it as well, for it is faster where this process is busy.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="parent watch", daemon=True).start()


def work(folder: Path) -> None:
    """Do this process's part of the run that `folder` is made for."""
    with uncollected():
        from torch import distributed

        from light_peft.session import run

    config = config_from_dict(artifacts.read_json(folder / artifacts.CONFIG))
    config.run_dir = str(folder)
    run(config, Console(quiet=launchers.rank() != 0))
    if distributed.is_initialized():
        distributed.destroy_process_group()


def work_alone(request: Path) -> None:
    """Do the whole run that is asked for in a file, in as many processes as it takes."""
    with uncollected():
        from light_peft.launch import run_whole
        from light_peft.report.table import show_record

    asked, console = artifacts.read_json(request), Console()
    record, folder = run_whole(config_from_dict(asked["config"]), console, asked["words"])
    show_record(console, record, folder)


def report(error: Exception) -> None:
    """Leave the error where the process that started this one looks for it."""
    is_ours = not isinstance(error, ValueError)
    message = f"{type(error).__name__}: {error}" if is_ours else str(error)
    values = {"time": time.time(), "message": message, "traceback": "".join(traceback.format_exception(error))}
    with whole_file(Path(os.environ[ERROR_FILE])) as path:
        path.write_text(json.dumps(values), encoding="utf-8")


def main(words: list[str]) -> int:
    """Return the exit code: 0, 2 for what was wrong with what was asked for, 1 for a defect, 128 + signal."""
    end_with_parent()
    try:
        (work_alone if Path(words[0]).is_file() else work)(Path(words[0]))
    except Interrupted as interrupted:
        return interrupted.exit_code
    except Exception as error:
        report(error)
        return 2 if isinstance(error, ValueError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
