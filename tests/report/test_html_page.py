"""The page of a sweep and of a run: whole, alone, escaped, and every number with its runs behind it."""

import base64
import hashlib
import json
import re
from dataclasses import asdict
from pathlib import Path
from urllib.parse import unquote

import pytest
from html_cases import Elements, write_run, write_sweep
from report_cases import make_record

from light_peft.artifacts import RECORD, read_json, write_json
from light_peft.report.html.beside import families_of
from light_peft.report.html.page import render
from light_peft.report.html.pairs import payload_of
from light_peft.report.html.series import MOST, looks_of
from light_peft.report.overview import Overview
from light_peft.report.results import FIGURES, compare, settings_of
from light_peft.sweeps.cells import read_cells


def page_of(folder: Path, place: Path | None = None) -> str:
    return render(read_cells([folder]), [folder], place or folder)


def test_every_link_inside_the_page_leads_somewhere_and_no_place_is_there_twice(tmp_path: Path) -> None:
    elements = Elements(page_of(write_sweep(tmp_path / "sweep")))
    places = list(elements.values("id"))
    links = [link for link in elements.values("href") if link.startswith("#")]
    assert len(places) == len(set(places))
    assert len(links) > 40
    assert {link[1:] for link in links} <= set(places)


def test_every_number_of_a_table_leads_to_its_runs_and_their_folders_are_there(tmp_path: Path) -> None:
    folder, place = write_sweep(tmp_path / "a sweep #1"), tmp_path / "elsewhere"
    page = page_of(folder, place)
    links = [link for link in Elements(page).values("href") if not link.startswith(("#", "data:"))]
    assert len(links) == 8, "two tasks, two settings, two seeds"
    assert not any(set(link) & set(" #") for link in links), "as a link has them"
    assert {(place / unquote(link)).resolve() for link in links} == {
        path.parent.resolve() for path in folder.rglob(RECORD)
    }
    cells = re.findall(r'<td[^>]*data-value="[^"]+"[^>]*>(.*?)</td>', page.split('id="tables"')[1].split("<section")[0])
    assert len(cells) > 50
    assert all('href="#runs-' in cell for cell in cells)


def test_the_page_asks_for_nothing_but_itself(tmp_path: Path) -> None:
    page = page_of(write_sweep(tmp_path / "sweep"))
    elements = Elements(page)
    assert not list(elements.values("src"))
    assert {tag for tag, attributes in elements.found if tag == "link"} == {"link"}
    assert [attributes["href"] for tag, attributes in elements.found if tag == "link"] == ["data:,"]
    assert not re.search(r"url\(|@import|https?:", page)
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page


HOSTILE = "</script><img src=x onerror=alert(1)>\"'><b>&amp;"


def test_nothing_that_a_run_says_becomes_an_element(tmp_path: Path) -> None:
    plain = Elements(page_of(write_sweep(tmp_path / "plain")))
    hostile_page = page_of(write_sweep(tmp_path / "hostile", task=HOSTILE, label=f"cut {HOSTILE}", error=HOSTILE))
    hostile = Elements(hostile_page)
    assert [tag for tag, _ in hostile.found] == [tag for tag, _ in plain.found]
    assert [sorted(attributes) for _, attributes in hostile.found] == [sorted(a) for _, a in plain.found]
    assert HOSTILE in hostile.text
    data = re.search(r'id="pairs-data">(.*?)</script>', hostile_page, re.DOTALL)
    assert data is not None
    assert f"cut {HOSTILE}" in json.loads(data[1])["names"]


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "sweep")
    assert page_of(folder) == page_of(folder)


def test_failed_and_missing_cells_are_named_with_error_and_command(tmp_path: Path) -> None:
    text = Elements(page_of(write_sweep(tmp_path / "sweep", error="first line\nsecond line"))).text
    assert "2 of the runs asked for are not there" in text
    assert "8 finished , 1 failed , 1 missing" in text
    assert "[1] failed · rte · Light-PEFT · seed 3 first line second line (exit code 1, attempts: 2)" in text
    assert "python -m run task=rte method=cut seed=3" in text
    assert "missing · rte · Light-PEFT · seed 4" in text


def test_the_page_says_what_it_ran_on(tmp_path: Path) -> None:
    text = Elements(page_of(write_sweep(tmp_path / "sweep"))).text
    for fact in ("a processor", "torch 2.13.0", "0123456789ab", "aaaaaaaaaaaa", "python -m run -m task=rte,sst2"):
        assert fact in text


def test_the_headline_is_the_figure_of_the_tables(tmp_path: Path) -> None:
    """Scores of the cut runs lie 3 and 6 points below; training takes as long, at three quarters of the memory."""
    text = Elements(page_of(write_sweep(tmp_path / "sweep"))).text
    assert "Light-PEFT beside LoRA" in text
    assert "score, points −4.5" in text
    assert "training speed 1.00×" in text
    assert "peak memory 0.75×" in text


def test_any_two_settings_beside_each_other_are_what_compare_says(tmp_path: Path) -> None:
    cells = read_cells([write_sweep(tmp_path / "sweep")])
    overview = Overview(cells)
    payload = payload_of(overview, families_of(overview, looks_of(overview)))
    assert payload["names"] == ["LoRA", "Light-PEFT"]
    assert payload["start"] == [1, 0]
    for task in ("rte", "sst2"):
        plain, cut = (one for one in settings_of(cells) if one.task == task)
        found = compare(plain, cut, FIGURES["score"])
        assert found is not None
        rounded = [round(x, 3) for x in (found.mean, found.low, found.high)]
        assert payload["pairs"]["0,1"][task] == [*rounded, found.p_value, 2]
    assert payload["pairs"]["0,1"][""][0] == pytest.approx(4.5)
    assert payload["pairs"]["0,1"][""][4] == 4


def test_the_page_of_one_run_has_its_phases_and_no_tables_of_settings(tmp_path: Path) -> None:
    write_run(tmp_path / "run", make_record(seed=3, score=0.8125, seconds=40.0))
    page = page_of(tmp_path / "run")
    text = Elements(page).text
    assert "rte, tiny, lora, seed 3" in text
    assert "accuracy 81.2" in text or "accuracy 81.3" in text
    assert "train 20.0 10 16.0" in text, "seconds, steps, examples a second"
    assert 'id="tables"' not in page
    assert 'id="pairs"' not in page
    assert "What is left of the model" in text


def test_a_run_that_was_not_cut_has_no_panels_of_a_plan(tmp_path: Path) -> None:
    write_run(tmp_path / "run", make_record(plain=True))
    text = Elements(page_of(tmp_path / "run")).text
    assert "Loss and score" in text
    for absent in ("What is left", "Importance and the cut", "How settled"):
        assert absent not in text


def test_a_record_of_an_older_layout_is_shown(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    values = asdict(make_record())
    for name in ("words", "config_sha256", "estimation", "resumed", "calibration", "base", "hardware", "history"):
        values.pop(name)
    values["config"] = {"prune": values["config"]["prune"], "seed": 1}
    values["phases"] = {"train": {"seconds": 1.0}}
    write_json(folder / RECORD, values)
    assert "rte" in Elements(page_of(folder)).text


def test_a_sweep_of_which_nothing_has_finished_is_shown(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "sweep")
    for path in folder.rglob(RECORD):
        write_json(path, read_json(path) | {"status": "interrupted"})
    text = Elements(page_of(folder)).text
    assert "10 of the runs asked for are not there" in text


def test_of_many_settings_the_first_have_panels_and_the_rest_is_said(tmp_path: Path) -> None:
    for number in range(MOST + 3):
        write_run(tmp_path / f"{number}", make_record(label=f"setting {number}"))
    text = Elements(page_of(tmp_path)).text
    assert f"the first {MOST} settings of each task; 3 more" in text
    assert f"setting {MOST + 2}" in text


def test_the_front_of_a_search_is_drawn(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "sweep")
    trials = [{"number": n, "params": {"prune.ffn": n / 10}, "score": 0.5 + n / 10, "cost": 0.3} for n in range(3)]
    failed = {"number": 3, "params": {"prune.ffn": 0.9}, "score": None, "cost": None}
    search = {"cost": "blocks", "budget": {"blocks": 0.45}, "trials": [*trials, failed], "best": 2, "front": [2]}
    write_json(folder / "search.json", search)
    text = Elements(page_of(folder)).text
    best = "trial 2: score 70.0, blocks 0.3 (prune.ffn=0.2)"
    assert f"3 of 4 trials finished; the diamond is the best, {best}; budget: blocks at most 0.45" in text
    assert "trial 3" not in text
    for damage in ("{", '{"cost": "blocks"}'):
        (folder / "search.json").write_text(damage, encoding="utf-8")
        with pytest.raises(ValueError, match=r"search\.json is damaged"):
            page_of(folder)
