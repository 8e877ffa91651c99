"""A finished run, loaded back and scored again."""

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from light_peft import artifacts
from light_peft.asked import check_config
from light_peft.config import config_from_dict
from light_peft.evaluation.examiner import Examiner
from light_peft.loading import config_of, finished_record, load, load_tokenizer
from light_peft.meter import PhaseCost
from light_peft.runtime import quiet_libraries, start_runtime
from light_peft.tasks.registry import formulation_of
from light_peft.tasks.splits import load_splits


def rescore(run_dir: str, overrides: dict[str, Any], console: Console | None = None) -> float:
    """Load a finished run, score it again, and return the score.

    Its answers are written if `overrides` ask for it with `save.predictions`, whatever the run did.

    Args:
        run_dir: Folder of the run.
        overrides: Values that differ from the run's own, nested as in its configuration (such as `data.dir`).
        console: Where to print.

    Raises:
        ValueError: If the run did not finish, its folder is damaged, or its data cannot be had.
    """
    console, folder = console or Console(stderr=True), Path(run_dir)
    record = finished_record(folder)
    own = config_of(folder, record)
    own.save.predictions = False  # those of the run itself are not touched
    own.track = "none"
    config = config_from_dict(asdict(own), overrides)
    check_config(config)
    quiet_libraries()
    accelerator = start_runtime(config.runtime, config.seed)
    model, tokenizer = accelerator.prepare(load(folder)), load_tokenizer(folder)
    with tempfile.TemporaryDirectory() as work_dir:
        place, test = Path(work_dir), config.save.predictions
        splits = load_splits(config.task, config.data, seed=config.seed, work_dir=place, train=False, test=test)
    examiner = Examiner(config, formulation_of(config.task, record.head), tokenizer, accelerator)
    examiner.settings = record.calibration
    examiner.take(splits)
    metrics = examiner.examine(model, PhaseCost())
    if config.save.predictions:
        examiner.answer_tests(model, PhaseCost())
        examiner.write_predictions(folder / artifacts.PREDICTIONS)
        console.print(f"predictions in {folder / artifacts.PREDICTIONS}")
    for metric, value in metrics.items():
        console.print(f"{metric:24} {value:.4f}   recorded {record.metrics.get(metric, float('nan')):.4f}")
    return metrics[examiner.primary_name()]
