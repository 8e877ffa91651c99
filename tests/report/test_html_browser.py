"""The page in a real browser, where there is one: nothing overflows, nothing is asked for, tables sort."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from html_cases import write_sweep

from browser import Page, browser_page, find_browser
from light_peft.report.html.page import render
from light_peft.sweeps.cells import read_cells
from report_screenshots import faults

SHOWN = "table[aria-label='Over all tasks']"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_sweep(tmp_path_factory.mktemp("report") / "a sweep with a rather long name that has to be broken")
    place = folder / "report.html"
    place.write_text(render(read_cells([folder]), [folder], folder), encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    try:
        find_browser()
    except FileNotFoundError as error:
        pytest.skip(f"a browser test: {error}")
    with browser_page() as found:
        yield found


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 390, 1280])
def test_nothing_overflows_and_nothing_is_asked_for(page: Page, file: Path, width: int, dark: bool) -> None:
    page.open(file, width=width, height=800, dark=dark)
    assert page.run("innerWidth") == width
    assert faults(page) == []
    assert len(page.requests()) == 1, "the file alone"
    page.run("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert faults(page) == []
    colours = page.run("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
    light = [int(colour[4:-1].split(",")[0]) > 128 for colour in colours]
    assert light == ([False, True] if dark else [True, False])


def test_the_text_of_figures_can_be_read_on_a_phone(page: Page, file: Path) -> None:
    page.open(file, width=360, height=800)
    sizes = page.run("[...document.querySelectorAll('figure > svg')].map((one) => 11 * one.clientWidth / 330)")
    assert min(size for size in sizes if size) > 10, "CSS pixels"


def column(page: Page, number: int) -> list[str]:
    cells = f'[...document.querySelectorAll("{SHOWN} tbody tr")].map((row) => row.children[{number}].dataset.value)'
    return list(page.run(cells))


def test_a_table_sorts_by_keyboard_and_says_so(page: Page, file: Path) -> None:
    page.open(file, width=1280, height=800)
    head = f'document.querySelector("{SHOWN} th:nth-child(3)")'
    before = column(page, 2)
    page.run(f"{head}.firstElementChild.focus()")
    page.press("Enter")
    assert page.run(f"{head}.getAttribute('aria-sort')") == "descending"
    assert [float(value) for value in column(page, 2)] == sorted(map(float, before), reverse=True)
    page.press("Enter")
    assert page.run(f"{head}.getAttribute('aria-sort')") == "ascending"
    assert [float(value) for value in column(page, 2)] == sorted(map(float, before))
    page.run(f'document.querySelector("{SHOWN} th:nth-child(4)").firstElementChild.click()')
    assert page.run(f"{head}.getAttribute('aria-sort')") == "none"
    assert column(page, 3)[-1] == "", "what has no figure stands last"


def test_two_settings_are_chosen_and_turned_round(page: Page, file: Path) -> None:
    page.open(file, width=1280, height=800)
    rows = "[...document.querySelectorAll('#pairs tbody tr')].map((row) => row.innerText.split(/\\s*\\t\\s*/))"
    first = page.run(rows)
    assert [row[0] for row in first] == ["rte", "sst2", "all tasks"]
    assert first[2][1] == "−4.5"
    page.run(
        "for (const [name, value] of [['a', 0], ['b', 1]]) {"
        "const select = document.querySelector(`#pairs select[name=${name}]`);"
        "select.value = value; select.dispatchEvent(new Event('change'));}"
    )
    turned = page.run(rows)
    assert turned[2][1] == "+4.5"
    assert (
        page.run("document.getElementById(document.querySelector('[data-runs=a]').hash.slice(1)).innerText") == "LoRA"
    )
    low, high = first[0][2].strip("[]").split(", ")
    swapped = [text[1:] if text.startswith("−") else f"−{text}" for text in (high, low)]
    assert turned[0][2] == f"[{swapped[0]}, {swapped[1]}]"


def test_one_task_alone_can_be_shown(page: Page, file: Path) -> None:
    page.open(file, width=1280, height=800)
    page.run(
        "const select = document.querySelector('select[name=task]');"
        "select.value = 'sst2'; select.dispatchEvent(new Event('change'))"
    )
    blocks = page.run("[...document.querySelectorAll('[data-task]')].map((one) => [one.dataset.task, one.hidden])")
    assert {task for task, hidden in blocks if not hidden} == {"sst2"}
    assert {task for task, hidden in blocks if hidden} == {"rte"}


def test_the_theme_can_be_chosen(page: Page, file: Path) -> None:
    page.open(file, width=1280, height=800)
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.run(colour)
    page.run("document.getElementById('theme').click(); document.getElementById('theme').click()")
    assert page.run("document.documentElement.dataset.theme") == "dark"
    assert page.run(colour) != light
    page.run("document.getElementById('theme').click()")
    assert page.run(colour) == light


def test_without_javascript_everything_but_the_choice_is_there(page: Page, file: Path) -> None:
    page.open(file, width=390, height=800, script=False)
    text = page.run("document.body.innerText")
    assert "Light-PEFT beside LoRA" in text
    assert "the page needs JavaScript" in text
    assert "Theme" not in text
    assert page.run("document.documentElement.scrollWidth") <= 390
