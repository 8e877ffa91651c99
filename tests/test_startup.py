"""What a command imports before it needs it, and what the log of a run tells of its start."""

import subprocess
import sys
import time
from pathlib import Path

import startup
from command_line import FAST, command, tiny_files

LARGE = ("accelerate", "datasets", "peft", "torch", "transformers")
LATER = ("evaluate", "matplotlib", "scipy.stats", "sklearn")
"""What a run needs behind its training only, if at all."""
ASK = """
import sys
import run
print(*sorted({*LARGE, *LATER} & {*sys.modules}))
import light_peft.launch, light_peft.rescoring, light_peft.session
print(*sorted({*LARGE, *LATER} & {*sys.modules}))
"""


def test_nothing_is_imported_before_it_is_needed() -> None:
    program = f"LARGE, LATER = {LARGE}, {LATER}{ASK}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["", " ".join(LARGE)]


def test_the_stages_of_a_start_are_in_the_log_of_a_run(tmp_path: Path) -> None:
    began = time.time()
    outcome = command(tmp_path, *FAST, *tiny_files(tmp_path), "run_dir=here")
    assert outcome.code == 0, outcome.output
    stages = startup.stages_in(tmp_path / "here" / "run.log", began)
    assert list(stages) == list(startup.STAGES)
    assert min(stages.values()) > -0.001  # the log has milliseconds, cut off
    assert sum(stages.values()) < time.time() - began
