"""Everything that can be said of a configuration before a run begins."""

from light_peft.config import Config
from light_peft.evaluation.examiner import check_asked
from light_peft.peft_modules import all_kinds
from light_peft.pruning.criteria import criterion_names
from light_peft.tracking import check_installed
from light_peft.validation import check


def check_config(config: Config) -> list[str]:
    """Return a warning for each setting that has no effect; nothing is read for it.

    Raises:
        ValueError: If a value is not allowed, the metrics or predictions asked for do not fit the task, or a package
            that is needed is not installed.
    """
    notes = check(config, all_kinds(), criterion_names())
    check_asked(config)
    check_installed(config.track)
    return notes
