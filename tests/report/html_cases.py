"""A small sweep with all that a page shows, on disk: plans, scores, histories, a failed cell and a missing one."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import torch
from report_cases import make_record

from light_peft.artifacts import PLAN, SCORES, RunRecord, write_json, write_tensors
from light_peft.pruning.plan import PruneRule, PruningPlan, keep_all, make_plan
from light_peft.pruning.scores import Scores
from light_peft.sweeps.cells import Failure, ask, key_of, note_failure

LAYERS, HEADS, NEURONS, RANK = 2, 4, 16, 4
MODULES = [
    f"bert.encoder.layer.{layer}.attention.self.{kind}" for layer in range(LAYERS) for kind in ("query", "value")
]
RULE = PruneRule(attn=0.5, ffn=0.25, peft_module=0.5, peft_rank=0.25)


def make_scores(seed: int) -> Scores:
    draw = torch.Generator().manual_seed(seed)
    return Scores(
        attn=tuple(torch.rand(HEADS, generator=draw) for _ in range(LAYERS)),
        ffn=tuple(torch.rand(NEURONS, generator=draw) for _ in range(LAYERS)),
        modules={name: float(torch.rand((), generator=draw)) for name in MODULES},
        ranks={name: torch.rand(RANK, generator=draw) for name in MODULES},
    )


def make_history(estimated: int) -> list[dict[str, Any]]:
    history: list[dict[str, Any]] = []
    for step in range(10, estimated + 1, 10):
        agreed = {"attn": step / 50, "ffn": step / 60, "rank": step / 70}
        history += [{"phase": "estimate", "step": step, "loss": 2 - step / 100}]
        history += [{"phase": "estimate", "step": step, "agreement": agreed}]
    history += [{"phase": "train", "step": step, "loss": 1 - step / 100} for step in (10, 20, 30)]
    return [*history, *({"phase": "evaluate", "step": step, "accuracy": step / 50} for step in (15, 30))]


def write_run(folder: Path, record: RunRecord) -> PruningPlan | None:
    """Write a run; where something was cut, also what was measured and decided."""
    folder.mkdir(parents=True)
    if record.config["prune"]["method"] == "none":
        record.history = make_history(0)
        record.write(folder)
        return None
    scores = make_scores(record.seed)
    plan = make_plan(scores, RULE)
    before = keep_all([HEADS] * LAYERS, [NEURONS] * LAYERS, dict.fromkeys(MODULES, RANK))
    record.plan, record.history = plan.summary(before), make_history(50)
    record.phases["estimate"] |= {"steps": 50}
    write_json(folder / PLAN, plan.to_json())
    write_tensors(folder / SCORES, scores.tensors())
    record.write(folder)
    return plan


def write_sweep(folder: Path, *, task: str = "rte", label: str = "Light-PEFT", error: str = "out of memory") -> Path:
    """Two tasks, two settings, two seeds; of the cut one a third seed that failed, and a fourth that is missing."""
    cells = []
    for name in (task, "sst2"):
        for setting, plain in (("LoRA", True), (label, False)):
            for seed in (1, 2):
                words = [f"task={name}", f"method={'plain' if plain else 'cut'}", f"seed={seed}"]
                score = 0.8 + seed / 50 - (0 if plain else 0.03 * seed)
                record = make_record(
                    task=name, seed=seed, plain=plain, label=setting, score=score, seconds=20 - 9 * seed
                )
                record.words = words
                write_run(folder / f"cell{len(cells)}-{key_of(words)}", record)
                cells.append(words)
    failed, missing = ([f"task={task}", "method=cut", f"seed={seed}"] for seed in (3, 4))
    ask(folder, [*cells, failed, missing], "python -m run -m task=rte,sst2 method=plain,cut seed=1,2")
    note_failure(folder, Failure(failed, error, 1, 2))
    return folder


class Elements(HTMLParser):
    """The elements of a page, as (tag, attributes), and its text outside style and script."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self._inside: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))
        self._inside.append(tag)

    def handle_data(self, data: str) -> None:
        if self._inside[-1:] not in (["style"], ["script"]):
            self.texts.append(data)

    def handle_endtag(self, tag: str) -> None:
        if self._inside[-1:] == [tag]:
            self._inside.pop()

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))

    def values(self, attribute: str) -> Iterator[str]:
        return (attributes[attribute] for _, attributes in self.found if attribute in attributes)
