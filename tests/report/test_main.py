"""`python -m light_peft.report`: what it writes, and what it says where there is nothing."""

from pathlib import Path

import pytest
from html_cases import write_sweep

from light_peft.report.__main__ import main
from light_peft.report.tables import markdown
from light_peft.sweeps.cells import read_cells


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Call with words; gives exit code, stdout and stderr."""

    def called(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["report", *map(str, words)])
        code = main()
        return (code, *capsys.readouterr())

    return called


def test_the_page_comes_into_the_first_folder(call, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = write_sweep(tmp_path / "sweep")
    assert call(folder) == (0, "", f"{folder / 'report.html'}\n")
    assert (folder / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_page_and_tables_go_where_they_are_asked_for(call, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder, other = write_sweep(tmp_path / "sweep"), tmp_path / "new" / "page.html"
    stem = tmp_path / "tables" / "glue.small"
    code, out, err = call(folder, "--html", other, "--tables", stem, "--print")
    assert code == 0
    assert out == markdown(read_cells([folder]))
    assert err.split() == [str(other), *(f"{stem}{ending}" for ending in (".md", ".tex", ".csv"))]
    assert all(Path(path).is_file() for path in err.split())
    assert not (folder / "report.html").exists()


def test_nothing_to_show_is_said(call, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    code, out, err = call(tmp_path)
    assert (code, out) == (2, "")
    assert err == f"error: {tmp_path}: no run found (a run folder holds result.json, a sweep's sweep.json)\n"


def test_a_place_that_cannot_be_written_is_said(call, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = write_sweep(tmp_path / "sweep")
    (tmp_path / "file").write_text("", encoding="utf-8")
    code, _, err = call(folder, "--html", tmp_path / "file" / "page.html")
    assert code == 2
    assert "cannot be written" in err
