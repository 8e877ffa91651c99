"""Between the command line and the package: composition, messages, exit codes.

Exit codes: 0 finished; 2 something was wrong with what was asked for (one message, no traceback);
1 a defect of ours (with traceback), or a process of the run died; 130 and 143 interrupted by Ctrl-C or SIGTERM.
A sweep ends with the code of the first of its cells that failed, once all have ended.
"""

from light_peft.door.choices import conf_dir, options_first, options_of, register, with_model_folders
from light_peft.door.command import check_words, guarded, prepared
from light_peft.door.running import run_composed
from light_peft.door.saying import FAILURES, explain, say

__all__ = [
    "FAILURES",
    "check_words",
    "conf_dir",
    "explain",
    "guarded",
    "options_first",
    "options_of",
    "prepared",
    "register",
    "run_composed",
    "say",
    "with_model_folders",
]
