from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from omegaconf import OmegaConf

from light_peft.config import Config, SaveConfig, TaskConfig
from light_peft.evaluation.examiner import check_asked

TASKS = sorted((Path(__file__).parents[2] / "conf" / "task").glob("*.yaml"))


@pytest.mark.parametrize("path", TASKS, ids=lambda path: path.stem)
def test_metrics_and_submission_of_every_task_fit_its_answers(path: Path) -> None:
    task = cast(
        TaskConfig, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(TaskConfig), OmegaConf.load(path)))
    )
    check_asked(Config(task=task, save=SaveConfig(predictions=True)))
    with pytest.raises(ValueError, match=r"^task.metrics has 'acuracy'.*\(did you mean accuracy\?\)$"):
        check_asked(Config(task=replace(task, metrics=["acuracy"])))
