"""A run that is left anywhere and taken up again is the run that was never left: record, plan, scores, weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console

from light_peft import artifacts, door, keeping
from light_peft.artifacts import RunRecord
from light_peft.config import config_from_dict
from light_peft.session import run

SMOKE = ("debug=smoke", "runtime.threads=1", "runtime.device=cpu", "save.model=false", "data.max_eval_samples=16")
SHORT = ("data.max_train_samples=48", "estimate.steps=5", "train.max_steps=6", "checkpoint.steps=2")
"""Three steps an epoch, so that the score after an epoch falls into the training phase."""
SETTLED = ("estimate.stop=settled", "estimate.check_every=1", "estimate.patience=2", "estimate.tolerance=0.01")
MOMENTS = ("prune.refit=true", "prune.compensate_bias=true", "prune.merge_cut_peft=true")
ADALORA = ("peft=adalora", "peft.r=2", "peft.init_r=4", "peft.delta_t=1", "peft.tinit=0.1", "peft.tfinal=0.2")
CACHED = ("train.prefix_cache=eval", "prune.module_depth=1", "peft.targets=[query,value]")
MACHINE = ("seconds", "peak_memory_bytes", "part_seconds")


class Killed(BaseException):
    """No error that anything catches."""


def whole_run(folder: Path, *words: str) -> None:
    """Run in `folder`, or go on there."""
    door.register()
    with initialize_config_dir(str(door.conf_dir()), version_base="1.3"):
        composed = compose("config", [*SMOKE, *SHORT, *words, f"run_dir={folder}"])
    run(config_from_dict(OmegaConf.to_container(composed, resolve=True)), Console(quiet=True))  # type: ignore[arg-type]


def killed_run(folder: Path, where: tuple[str, int], *words: str) -> None:
    """Run in `folder` until a step of a phase is done but not yet kept."""
    stage, _ = where
    keep, is_due = keeping.RunKeeper.keep, keeping.PhaseKeeper.is_due

    def dying_is_due(self: Any, done: int) -> bool:
        if (self._phase.name, done) == where:
            raise Killed
        return is_due(self, done)

    def dying_keep(self: Any, at: str, done: int, *rest: Any) -> None:
        keep(self, at, done, *rest)
        if at == stage == "evaluate":
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keeping.PhaseKeeper, "is_due", dying_is_due)
        patch.setattr(keeping.RunKeeper, "keep", dying_keep)
        with pytest.raises(Killed):
            whole_run(folder, *words)
    assert RunRecord.read(folder).status == "failed"


def left_behind(folder: Path) -> dict[str, Any]:
    """Return all that a run has found out, as plain values; what depends on the machine's mood is left out."""
    record = artifacts.read_json(folder / artifacts.RECORD)
    for name in ("config", "totals", "resumed", "hardware"):
        record.pop(name)
    for cost in (*record["phases"].values(), record["prefix_cache"]):
        for name in MACHINE:
            cost.pop(name, None)
    record["data"].pop("sources")
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.safetensors")}
    tensors = {name: artifacts.tensors_sha256(artifacts.read_tensors(path)) for name, path in files.items()}
    return {"record": record, "plan": artifacts.read_json(folder / artifacts.PLAN), "tensors": tensors}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """What a run with these words leaves if nothing happens; each is made once."""
    made: dict[tuple[str, ...], dict[str, Any]] = {}

    def of(*words: str) -> dict[str, Any]:
        if words not in made:
            folder = tmp_path_factory.mktemp("undisturbed") / "run"
            whole_run(folder, *words)
            made[words] = left_behind(folder)
        return made[words]

    return of


@pytest.mark.parametrize(
    ("words", "where", "resumed"),
    [
        (("prune.criterion=mask", *SETTLED), ("estimate", 3), [{"stage": "estimate", "step": 2}]),
        (MOMENTS, ("estimate", 4), [{"stage": "estimate", "step": 2}]),
        (MOMENTS, ("train", 3), [{"stage": "train", "step": 2}]),
        (ADALORA, ("train", 5), [{"stage": "train", "step": 4}]),
        (ADALORA, ("evaluate", 0), [{"stage": "evaluate", "step": 6}]),
        (("train.distill=0.5",), ("train", 3), [{"stage": "train", "step": 2}]),
        (CACHED, ("train", 5), [{"stage": "train", "step": 4}]),
        (("prune=none",), ("train", 3), [{"stage": "train", "step": 2}]),
        (("save.predictions=true",), ("evaluate", 0), [{"stage": "evaluate", "step": 6}]),
    ],
)
def test_a_run_that_was_left_is_the_run_that_was_not(
    tmp_path: Path,
    undisturbed: Callable[..., dict[str, Any]],
    words: tuple[str, ...],
    where: tuple[str, int],
    resumed: list[dict[str, Any]],
) -> None:
    folder = tmp_path / "run"
    killed_run(folder, where, *words)
    whole_run(folder, *words)
    assert RunRecord.read(folder).resumed == resumed
    assert left_behind(folder) == undisturbed(*words)
    assert not (folder / artifacts.CHECKPOINTS).exists()


def test_a_run_may_be_left_as_often_as_one_likes(tmp_path: Path, undisturbed: Callable[..., dict[str, Any]]) -> None:
    folder = tmp_path / "run"
    places = [("estimate", 1), ("estimate", 5), ("train", 1), ("train", 3), ("train", 6), ("evaluate", 0)]
    for where in places:
        killed_run(folder, where)
    whole_run(folder)
    stages = [("estimate", 4), ("estimate", 5), ("train", 2), ("train", 4), ("evaluate", 6)]
    assert RunRecord.read(folder).resumed == [{"stage": stage, "step": step} for stage, step in stages]
    assert left_behind(folder) == undisturbed()


def test_a_stage_relies_on_whole_files_only(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    killed_run(folder, ("train", 5))
    plan = folder / artifacts.PLAN
    plan.write_text(plan.read_text(encoding="utf-8").replace("0", "1"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"plan\.json is damaged or gone, and the run cannot go on without it"):
        whole_run(folder)


def test_other_data_are_refused(tmp_path: Path) -> None:
    rows = ["sentence1\tsentence2\tlabel", *["a\tb\tentailment", "c\td\tnot_entailment"] * 12]
    for name in ("train.tsv", "dev.tsv"):
        (tmp_path / name).write_text("\n".join(rows) + "\n", encoding="utf-8")
    files = [f"data.files.train={tmp_path / 'train.tsv'}", f"data.files.validation={tmp_path / 'dev.tsv'}"]
    killed_run(tmp_path / "run", ("train", 3), *files)
    (tmp_path / "train.tsv").write_text("\n".join([*rows, "e\tf\tentailment"]) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"^train: the data are not those that this run began with"):
        whole_run(tmp_path / "run", *files)
