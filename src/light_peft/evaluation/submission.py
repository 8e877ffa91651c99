"""Files of predictions in the forms that the benchmarks' servers and scorers take."""

import csv
import difflib
import io
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from light_peft.config import TaskConfig
from light_peft.evaluation.local_metric import CLASSES, FIGURES, TEXTS
from light_peft.evaluation.metrics import kind_of_answers
from light_peft.tasks.formulation import NO_ANSWER, Answers
from light_peft.writing import whole_file


@dataclass(frozen=True)
class Submission:
    """What is to be written: the answer to every example, and what each is called."""

    task: TaskConfig
    ids: list[str]
    answers: Answers

    @property
    def spelled(self) -> list[Any]:
        """Every prediction as the benchmark writes it: the name of a class, a text, or else the number itself."""
        if self.answers.written is not None:
            return self.answers.written
        names = self.task.submission.labels or self.task.labels
        return [_spell(prediction, names, self.task) for prediction in self.answers.predictions]

    def predictions(self, types: type | tuple[type, ...], what: str) -> list[Any]:
        """Return the predictions, all of these types, which are `what` in words.

        Raises:
            ValueError: If one is of another type.
        """
        odd = [value for value in self.answers.predictions if not isinstance(value, types)]
        if odd:
            raise ValueError(f"{_form(self.task)} takes {what}, task {self.task.name} predicts {odd[0]!r}")
        return self.answers.predictions


def write_predictions(folder: Path, task: TaskConfig, split: str, answers: Answers, ids: list[str]) -> Path:
    """Write the answers to a split into `folder`/`split`, in the task's form, and return the (first) file.

    Raises:
        ValueError: If the form is unknown or cannot hold these answers, or two examples have the same id.
    """
    assert len(ids) == len(answers.predictions), (len(ids), len(answers.predictions))
    check_form(task.submission.format)
    check_ids(task, split, ids)
    name = task.submission.files.get(split, task.submission.file)
    texts = FORMS[task.submission.format](Submission(task, ids, answers))
    paths = [folder / split / (name + ending) for ending in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        with whole_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
    return paths[0]


def check_form(name: str) -> None:
    """Hold the name of a form against those there are.

    Raises:
        ValueError: If it is unknown.
    """
    if name not in FORMS:
        near = difflib.get_close_matches(name, FORMS, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"task.submission.format={name}: must be one of {', '.join(FORMS)}{hint}")


def check_submission(task: TaskConfig) -> None:
    """Hold the form of a task against what its answers will be, so that no run fails for it at its end.

    Raises:
        ValueError: If the form cannot hold the answers, or there is not one of its labels for each class.
    """
    kind, held = kind_of_answers(task), TAKES.get(task.submission.format)
    if held is not None and kind not in held:
        fitting = ", ".join(form for form in FORMS if kind in TAKES.get(form, (kind,)))
        problem = f"{_form(task)} takes {' or '.join(held)}, and the answers to task {task.name} are {kind}"
        raise ValueError(f"{problem}; for these there are: {fitting}")
    names = task.submission.labels
    if names and task.labels and len(names) != len(task.labels):
        raise ValueError(f"task.submission.labels={names}: must be one for each of task.labels={task.labels}")


def check_ids(task: TaskConfig, split: str, ids: list[str]) -> None:
    """Hold what identifies the examples of a split against the task's form, so that no run fails for it at its end.

    Raises:
        ValueError: If two have the same id, or the form cannot hold one.
    """
    if twice := [name for name, count in Counter(ids).items() if count > 1]:
        raise ValueError(f"task.idx={task.idx}: {twice[0]!r} identifies more than one example of {split}")
    parts = NUMBERS_IN_IDS.get(task.submission.format, 0)
    if parts and (odd := [name for name in ids if len(_numbers(name)) != parts]):
        wanted = "whole numbers" if parts == 1 else "PASSAGE-QUESTION-ANSWER, whole numbers,"
        raise ValueError(f"{_form(task)} takes {wanted} for ids, task.idx={task.idx} has {odd[0]!r} in {split}")


def _glue(given: Submission) -> dict[str, str]:
    """A table of two columns; figures are STS-B's, from 0 to 5."""
    given.predictions((int, float), "class numbers or figures")
    rows = zip(map(int, given.ids), map(_cell, given.spelled), strict=True)
    return {".tsv": _lines(["index\tprediction", *(f"{number}\t{cell}" for number, cell in rows)])}


def _superglue(given: Submission) -> dict[str, str]:
    """One object per example."""
    rows = zip(map(int, given.ids), given.spelled, strict=True)
    return {".jsonl": _lines(_json({"idx": number, "label": label}) for number, label in rows)}


def _multirc(given: Submission) -> dict[str, str]:
    """One object per passage, which holds its questions, which hold their answer options; ids are `p-q-a`."""
    passages: dict[int, dict[int, list[dict[str, int]]]] = {}
    for name, label in zip(given.ids, given.predictions(int, "class numbers"), strict=True):
        passage, question, answer = _numbers(name)
        passages.setdefault(passage, {}).setdefault(question, []).append({"idx": answer, "label": label})
    objects = (
        {"idx": passage, "passage": {"questions": [{"idx": q, "answers": options} for q, options in questions.items()]}}
        for passage, questions in passages.items()
    )
    return {".jsonl": _lines(map(_json, objects))}


def _squad(given: Submission) -> dict[str, str]:
    """Question -> text, and for SQuAD 2.0 beside it question -> probability that it has no answer."""
    files = {".json": _json(dict(zip(given.ids, given.predictions(str, "texts"), strict=True)))}
    if NO_ANSWER in given.answers.extras:
        files["_na_prob.json"] = _json(dict(zip(given.ids, given.answers.extras[NO_ANSWER], strict=True)))
    return files


def _lst(given: Submission) -> dict[str, str]:
    """One number per line, in the order of the examples."""
    return {".lst": _lines(map(str, given.predictions(int, "numbers of candidates")))}


def _csv(given: Submission) -> dict[str, str]:
    """Id and answer key per line, no header; keys are letters unless example or task say what answers are called."""
    names = given.task.submission.labels or list(ascii_uppercase)
    lettered = (_spell(prediction, names, given.task) for prediction in given.answers.predictions)
    keys = given.answers.written or lettered
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(zip(given.ids, keys, strict=True))
    return {".csv": text.getvalue()}


def _jsonl(given: Submission) -> dict[str, str]:
    """One object per example, for tasks without a benchmark."""
    rows = zip(given.ids, given.spelled, strict=True)
    return {".jsonl": _lines(_json({"id": name, "prediction": prediction}) for name, prediction in rows)}


FORMS: dict[str, Callable[[Submission], dict[str, str]]] = {
    "glue": _glue,
    "superglue": _superglue,
    "multirc": _multirc,
    "squad": _squad,
    "lst": _lst,
    "csv": _csv,
    "jsonl": _jsonl,
}
"""Name in `task.submission.format` -> what gives the text of each file by the ending of its name."""
TAKES = {"glue": (CLASSES, FIGURES), "multirc": (CLASSES,), "squad": (TEXTS,), "lst": (CLASSES,)}
"""Name of a form -> what answers it can hold; a form that is not here holds all."""
NUMBERS_IN_IDS = {"glue": 1, "superglue": 1, "multirc": 3}
"""Name of a form -> how many whole numbers its ids are made of."""


def _form(task: TaskConfig) -> str:
    return f"task.submission.format={task.submission.format}"


def _spell(prediction: Any, names: list[str], task: TaskConfig) -> Any:
    """Return the name of a class if there are names; a figure must be finite."""
    if isinstance(prediction, float) and not math.isfinite(prediction):
        raise ValueError(f"task {task.name} predicts {prediction}, must be a finite number")
    if not names or not isinstance(prediction, int):
        return prediction
    if prediction >= len(names):
        raise ValueError(f"task.submission.labels={names} has no name for {prediction}, counted from 0")
    return names[prediction]


def _cell(value: Any) -> str:
    """Return a cell of GLUE's tables."""
    return f"{min(max(0.0, value), 5.0):.3f}" if isinstance(value, float) else str(value)


def _numbers(name: str) -> list[int]:
    """Return the whole numbers that an id consists of, with hyphens between them; none if it does not."""
    parts = name.split("-")
    return list(map(int, parts)) if all(part.isdecimal() for part in parts) else []


def _json(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
