"""Which run `resume=true` goes on with, and what it says where there is none."""

import os
from pathlib import Path

import pytest

from light_peft import artifacts
from light_peft.opening import open_run
from opening_cases import config, leave, reopened


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_resume_takes_the_newest_unfinished_one_of_this_configuration() -> None:
    older, newer = leave("failed"), leave("interrupted")
    leave("finished")
    leave("failed", seed=2)
    for age, folder in enumerate((newer, older)):
        os.utime(folder / artifacts.CONFIG, (1000 - age, 1000 - age))
    for model in (newer / "model", Path("outputs/mine")):
        model.mkdir()
        (model / "config.json").write_text('{"model_type": "bert"}')
    assert reopened(config(resume=True)).folder == newer
    (newer / artifacts.RECORD).unlink()
    assert reopened(config(resume=True)).folder == newer


def test_resume_takes_none_in_which_a_process_is_at_work() -> None:
    older, newer = leave("failed"), open_run(config())
    os.utime(older / artifacts.CONFIG, (1000, 1000))
    assert reopened(config(resume=True)).folder == older
    leave("finished", str(older))
    with pytest.raises(
        ValueError, match=rf"0 of other configurations\n  run_dir={newer.folder}: another process is at"
    ):
        open_run(config(resume=True))
    newer.close()


def test_resume_without_a_run_says_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"^resume=true: no unfinished run of this configuration below outputs/"):
        open_run(config(resume=True))
    leave("failed", steps=9, seed=2)
    near = leave("failed", seed=2)
    leave("finished")
    with pytest.raises(ValueError, match="2 of other configurations") as caught:
        open_run(config(resume=True))
    assert str(caught.value).splitlines()[-1] == f"  the nearest is {near}: seed is 2 there and 1 now"


def test_resume_of_a_folder_without_a_run_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^resume=true run_dir=typo: there is no run in this folder; without resume"):
        open_run(config("typo", resume=True))
