"""A run that is left anywhere and taken up again is the run that was never left: record, plan, scores, weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from light_peft import artifacts
from light_peft.artifacts import RunRecord
from run_cases import killed_run, left_behind, whole_run

SETTLED = ("estimate.stop=settled", "estimate.check_every=1", "estimate.patience=2", "estimate.tolerance=0.01")
MOMENTS = ("prune.refit=true", "prune.compensate_bias=true", "prune.merge_cut_peft=true")
ADALORA = ("peft=adalora", "peft.r=2", "peft.init_r=4", "peft.delta_t=1", "peft.tinit=0.1", "peft.tfinal=0.2")
CACHED = ("train.prefix_cache=eval", "prune.module_depth=1", "peft.targets=[query,value]")


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
