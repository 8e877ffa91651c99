"""What finds a threshold is not trained on: neither the questions nor their contexts."""

import json
from pathlib import Path

import pytest

from light_peft.config import DataConfig, DataFiles, SpanConfig, TaskConfig
from light_peft.tasks.splits import Splits, load_splits


def squad(folder: Path, contexts: int, questions: int) -> Path:
    rows = [
        {
            "question": f"q{number}?",
            "context": f"word{number % contexts} is here",
            "answers": {"text": [], "answer_start": []},
        }
        for number in range(questions)
    ]
    path = folder / f"{contexts}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def load(path: Path, seed: int = 1, *, no_answer: bool = True) -> Splits:
    task = TaskConfig(
        name="spans",
        formulation="span",
        text=["question", "context"],
        label="answers",
        span=SpanConfig(no_answer=no_answer, hold_out=7),
        metrics=["token_f1"],
        primary_metric="token_f1",
    )
    data = DataConfig(files=DataFiles(str(path), str(path)))
    return load_splits(task, data, seed=seed, work_dir=path.parent)


def test_whole_contexts_are_held_out(tmp_path: Path) -> None:
    path = squad(tmp_path, contexts=25, questions=100)
    splits = load(path)
    assert splits.train is not None
    assert splits.held_out is not None
    trained, held = set(splits.train["context"]), set(splits.held_out["context"])
    assert not trained & held
    assert (len(splits.train), len(splits.held_out)) == (92, 8), (
        "two contexts of four questions hold the seven asked for"
    )
    assert splits.held_out["question"][:] == sorted(splits.held_out["question"], key=lambda text: int(text[1:-1]))
    assert load(path).held_out.to_dict() == splits.held_out.to_dict()  # type: ignore[union-attr]
    assert set(load(path, seed=2).held_out["context"]) != held  # type: ignore[index]


def test_something_is_left_to_train_on(tmp_path: Path) -> None:
    splits = load(squad(tmp_path, contexts=2, questions=100))
    assert splits.train is not None
    assert len(splits.train) == 50
    with pytest.raises(ValueError, match=r"^task spans: all training examples have the same context, none can be held"):
        load(squad(tmp_path, contexts=1, questions=100))


def test_nothing_is_held_out_where_every_text_holds_an_answer(tmp_path: Path) -> None:
    rows = [{"question": "q?", "context": "word", "answers": {"text": ["word"], "answer_start": [0]}}] * 50
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert load(path, no_answer=False).held_out is None
