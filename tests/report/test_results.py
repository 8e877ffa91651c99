"""Cells become settings: which belong together, which count, and what they are held against."""

from pathlib import Path
from typing import Any

import pytest
from report_cases import make_cell, make_record

from light_peft.report.results import FIGURES, Setting, baseline_of, compare, compare_all, settings_of
from light_peft.sweeps.cells import Cell, Failure, ask, note_failure, read_cells

CUT = "lora, cut attn 0.333, ffn 0.4, peft_module 0.75, peft_rank 0.5"


def cells_of(*records: Any) -> list[Cell]:
    return [make_cell(record, folder=f"run {number}") for number, record in enumerate(records)]


def named(settings: list[Setting], task: str, name: str) -> Setting:
    return next(one for one in settings if (one.task, one.name) == (task, name))


def test_settings_are_grouped_by_task_and_what_was_done() -> None:
    records = [make_record(task=t, seed=s, plain=p) for t in ("sst2", "rte") for s in (1, 2) for p in (False, True)]
    settings = settings_of(cells_of(*records))
    assert [(one.task, one.name, [record.seed for record in one.records]) for one in settings] == [
        ("sst2", CUT, [1, 2]),
        ("sst2", "plain lora", [1, 2]),
        ("rte", CUT, [1, 2]),
        ("rte", "plain lora", [1, 2]),
    ]


def test_a_label_is_the_name() -> None:
    records = [make_record(seed=1, label="Light-PEFT 1/3"), make_record(seed=2, label="Light-PEFT 1/3")]
    assert [one.name for one in settings_of(cells_of(*records))] == ["Light-PEFT 1/3"]


def test_what_differs_under_one_name_is_told() -> None:
    records = [make_record(label="L"), make_record(label="L", config={"train": {"epochs": 2}})]
    records.append(make_record(label="L", seed=2, config={"train": {"epochs": 3}}))
    records[0].config["train"] = {"epochs": 3}
    settings = settings_of(cells_of(*records))
    assert [(one.name, len(one.records)) for one in settings] == [("L, train.epochs=3", 2), ("L, train.epochs=2", 1)]


def test_a_name_has_the_same_keys_on_every_task() -> None:
    rates = [("rte", 1), ("rte", 2), ("cola", 1)]
    records = [make_record(task=task, label="L", config={"train": {"learning_rate": x}}) for task, x in rates]
    names = [(one.task, one.name) for one in settings_of(cells_of(*records))]
    assert names == [(task, f"L, train.learning_rate={rate}") for task, rate in rates]


def test_models_are_told_apart_by_their_names_if_these_differ() -> None:
    models = [{"name": "a", "path": "x"}, {"name": "b", "path": "y"}]
    same = [{"name": "a", "path": "x"}, {"name": "a", "path": "y"}]
    for used, names in (
        (models, ["L, model.name=a", "L, model.name=b"]),
        (same, ["L, model.path=x", "L, model.path=y"]),
    ):
        records = [make_record(label="L", config={"model": model}) for model in used]
        assert [one.name for one in settings_of(cells_of(*records))] == names


def test_what_changes_nothing_of_a_result_does_not_part_runs() -> None:
    places = [
        {"run_dir": str(s), "sweep": {"retry": s}, "track": f"{s}", "estimate": {"reuse": str(s)}} for s in (1, 2)
    ]
    records = [make_record(seed=seed, config=place) for seed, place in enumerate(places)]
    assert [len(one.records) for one in settings_of(cells_of(*records))] == [2]


def test_criterion_and_target_are_named_where_they_are_unusual() -> None:
    by_mask = make_record(prune={"criterion": "mask"})
    target = {"speedup": None, "blocks": 0.5}
    cut_to = make_record(prune={"target": target}, task="cola")
    names = [one.name for one in settings_of(cells_of(by_mask, cut_to))]
    assert names == [f"{CUT}, by mask", "lora, cut to blocks 0.5, peft_module 0.75, peft_rank 0.5"]


def test_a_record_of_an_older_layout_has_a_name() -> None:
    old = make_record()
    old.config = {"prune": {name: old.config["prune"][name] for name in ("method", "attn", "ffn")}, "seed": 1}
    old.words, old.config_sha256, old.estimation, old.git, old.hardware = [], "", {}, {}, {}
    assert [one.name for one in settings_of(cells_of(old))] == ["lora, cut attn 0.333, ffn 0.4"]


def test_cells_without_a_result_join_the_setting_of_the_same_words() -> None:
    words = "task=rte method=light seed=%d data.dir=x"
    cells = [
        make_cell(make_record(seed=1, label="Light"), words % 1),
        make_cell(make_record(seed=2, label="Light", status="failed", score=None), words % 2, error="ValueError: no"),
        make_cell(None, words % 3, error="MemoryError: no memory"),
        make_cell(None, "seed=4 data.dir=x sweep.retry=2 task=rte method=light"),
        make_cell(make_record(seed=5, label="Light", status="interrupted", score=None), words % 5),
    ]
    (setting,) = settings_of(cells)
    assert (setting.task, setting.name) == ("rte", "Light")
    assert [record.seed for record in setting.records] == [1]
    assert [cell.key for cell in setting.failed] == [cells[1].key, cells[2].key]
    assert [cell.status for cell in setting.missing] == ["missing", "interrupted"]
    assert setting.values(FIGURES["score"]) == {1: 80.0}


def test_a_setting_that_never_began_is_named_as_on_other_tasks_or_by_its_words() -> None:
    cells = [
        make_cell(make_record(task="glue/rte", label="Light"), "task=rte method=light seed=1"),
        make_cell(make_record(task="sst2", label="LoRA", plain=True), "task=sst2 method=lora seed=1"),
        make_cell(None, "task=sst2 method=light seed=1"),
        make_cell(None, "task=rte method=lora seed=1"),
        make_cell(None, "task=cola method=other peft.r=4 seed=1"),
        make_cell(None, "task=cola method=other peft.r=4 seed=2", error="ValueError: no such method"),
    ]
    settings = settings_of(cells)
    assert [(one.task, one.name, len(one.cells)) for one in settings] == [
        ("glue/rte", "Light", 1),
        ("glue/rte", "LoRA", 1),
        ("sst2", "LoRA", 1),
        ("sst2", "Light", 1),
        ("cola", "method=other peft.r=4", 2),
    ]
    assert not any(one.records for one in settings[-2:])


def test_of_two_runs_of_a_seed_the_last_named_counts() -> None:
    first, second = cells_of(make_record(score=0.5), make_record(score=0.7))
    (setting,) = settings_of([first, second])
    assert setting.finished == (second,)
    assert setting.repeated == (first,)
    assert setting.values(FIGURES["score"]) == {1: pytest.approx(70.0)}


def test_a_seed_that_finished_elsewhere_is_not_missing() -> None:
    again = make_cell(make_record(seed=3), "task=rte seed=3", folder="later")
    failed = make_cell(make_record(seed=3, status="failed", score=None), "task=rte seed=3", error="OSError: disk")
    (setting,) = settings_of([failed, again])
    assert not setting.failed
    assert not setting.missing


def test_the_baseline_is_plain_peft_of_the_same_kind_else_lora() -> None:
    def run(label: str, **values: Any) -> Any:
        return make_record(label=label, **values)

    query_value = {"peft": {"kind": "lora", "targets": ["query", "value"]}}
    settings = settings_of(
        cells_of(
            *(run("full", peft="full", plain=True), run("full, cut", peft="full"), run("IA3, cut", peft="ia3")),
            *(run("bottleneck", peft="bottleneck", plain=True), run("bottleneck, cut", peft="bottleneck")),
            *(run("LoRA qv", plain=True, config=query_value), run("LoRA", plain=True), run("LoRA, cut")),
            *(run("LoRA qv, cut", config=query_value), run("other", plain=True, task="cola")),
            run("another model", plain=False, config={"model": {"name": "large"}}),
        )
    )
    found = {one.name: baseline.name if (baseline := baseline_of(one, settings)) else None for one in settings}
    assert found == {
        **{"full": "LoRA qv", "full, cut": "full", "IA3, cut": "LoRA qv", "bottleneck": "LoRA qv"},
        **{"bottleneck, cut": "bottleneck", "LoRA qv": None, "LoRA": "LoRA qv", "LoRA, cut": "LoRA"},
        **{"LoRA qv, cut": "LoRA qv", "other": None, "another model": None},
    }


def test_no_other_baseline_steps_in_for_one_that_is_missing() -> None:
    kinds = {"peft": "bottleneck"}
    begun = [
        make_cell(make_record(task="rte", label="adapters", plain=True, **kinds), "task=rte method=adapters seed=1"),
        *(make_cell(make_record(task=task, label="adapters, cut", **kinds)) for task in ("rte", "cola")),
        *(make_cell(make_record(task=task, label="LoRA", plain=True)) for task in ("rte", "cola")),
    ]
    missing = make_cell(None, "task=cola method=adapters seed=1")
    settings = settings_of([*begun, missing])
    baseline = baseline_of(named(settings, "cola", "adapters, cut"), settings)
    assert baseline is named(settings, "cola", "adapters")
    assert baseline.missing == (missing,)
    settings = settings_of(begun)
    assert baseline_of(named(settings, "cola", "adapters, cut"), settings) is named(settings, "cola", "LoRA")


def test_comparisons_are_paired_by_seed() -> None:
    plain = [make_record(seed=s, plain=True, score=x, seconds=t) for s, x, t in ((1, 0.8, 10.0), (2, 0.7, 20.0))]
    cut = [make_record(seed=s, score=x, seconds=t) for s, x, t in ((2, 0.72, 10.0), (1, 0.76, 5.0), (9, 0.1, 1.0))]
    a, b = settings_of(cells_of(*cut, *plain))
    found = compare(a, b, FIGURES["score"])
    assert found is not None
    assert (found.pairs, found.mean, found.p_value) == (2, pytest.approx((2.0 - 4.0) / 2), 1.0)
    speed, seconds = (compare(a, b, FIGURES[key], ratio=True) for key in ("step_speed", "seconds"))
    assert speed is not None
    assert seconds is not None
    assert (speed.mean, seconds.mean) == (pytest.approx(2.0), pytest.approx(0.5))
    assert compare(a, b, FIGURES["score"], ratio=True).mean == pytest.approx((0.72 / 0.7 * 0.76 / 0.8) ** 0.5)  # type: ignore[union-attr]


def test_tasks_are_pooled_seed_by_seed() -> None:
    records = [
        make_record(task=task, seed=seed, plain=plain, score=0.5 if plain else 0.5 + gain)
        for task, gain in (("rte", 0.1), ("cola", 0.2))
        for seed in (1, 2)
        for plain in (True, False)
    ]
    settings = settings_of(cells_of(*records))
    pairs = [(named(settings, task, CUT), named(settings, task, "plain lora")) for task in ("rte", "cola")]
    found = compare_all(pairs, FIGURES["score"])
    assert found is not None
    assert (found.pairs, found.mean) == (4, pytest.approx(15.0))
    assert (found.p_value, found.smallest_p) == (2 / 16, 2 / 16)


def test_nothing_is_compared_without_a_common_seed() -> None:
    a, b = settings_of(cells_of(make_record(seed=1), make_record(seed=2, plain=True)))
    assert compare(a, b, FIGURES["score"]) is None
    assert compare(a, b, FIGURES["seconds"], ratio=True) is None


def test_ratios_of_scores_that_are_not_positive_are_not_given() -> None:
    a, b = settings_of(cells_of(make_record(score=-0.1), make_record(score=0.2, plain=True)))
    assert compare(a, b, FIGURES["score"], ratio=True) is None
    assert compare(a, b, FIGURES["score"]).mean == pytest.approx(-30.0)  # type: ignore[union-attr]


def test_every_figure_by_hand() -> None:
    record = make_record(score=0.8125, seconds=10.0)
    found = {key: figure.value(record) for key, figure in FIGURES.items()}
    assert found == {
        **{"score": 81.25, "blocks": 60.0, "trainables": 60.0, "step_speed": 64.0, "seconds": 10.0},
        **{"memory": 150.0, "infer": 100.0},
    }
    assert FIGURES["seconds"].shown(12345.6) == "12,346"


def test_a_figure_that_a_record_lacks_is_none() -> None:
    record = make_record(phases={"train": {"examples": 3, "seconds": 0.0}}, totals={}, parameters={})
    found = {key: figure.value(record) for key, figure in FIGURES.items()}
    assert found.pop("score") == 80.0
    assert set(found.values()) == {None}


def test_the_cells_of_a_sweep_folder_become_settings(tmp_path: Path) -> None:
    words = [["task=rte", "method=light", f"seed={seed}"] for seed in (1, 2, 3)]
    ask(tmp_path, words, "python -m run -m task=rte method=light seed=1,2,3")
    cells = read_cells([tmp_path])
    make_record(seed=1, label="Light").write(_made(tmp_path / f"rte-1-{cells[0].key}"))
    note_failure(tmp_path, Failure(words[1], "ValueError: too long\nmore", 1, 1))
    (setting,) = settings_of(read_cells([tmp_path]))
    assert (setting.name, len(setting.records), len(setting.failed), len(setting.missing)) == ("Light", 1, 1, 1)
    assert setting.failed[0].error == "ValueError: too long"


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
