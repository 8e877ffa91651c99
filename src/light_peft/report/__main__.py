"""`python -m light_peft.report FOLDER ...`: the runs at or below the folders as one HTML page, and as tables."""

import argparse
import sys
from pathlib import Path

from light_peft.report.html.page import render
from light_peft.report.tables import markdown, write_tables
from light_peft.sweeps.cells import read_cells
from light_peft.writing import whole_file

PAGE = "report.html"
"""Name of the page in the first folder."""


def main() -> int:
    """Write what was asked for and say where; 2 and a message if there is nothing to show, or it cannot be written."""
    asked = _parser().parse_args()
    try:
        cells = read_cells(asked.folders)
        place: Path = asked.html or asked.folders[0] / PAGE
        text = render(cells, asked.folders, place.parent)
        with whole_file(place) as temporary:
            temporary.write_text(text, encoding="utf-8")
        paths = [place, *(write_tables(cells, asked.tables) if asked.tables else [])]
        if asked.print:
            sys.stdout.write(markdown(cells))
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stderr.write("".join(f"{path}\n" for path in paths))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m light_peft.report", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, help="folders of runs or sweeps, or folders that hold some")
    parser.add_argument("--html", type=Path, metavar="FILE", help=f"the page; by default {PAGE} in the first folder")
    parser.add_argument("--tables", type=Path, metavar="STEM", help="also write STEM.md, STEM.tex and STEM.csv")
    parser.add_argument("--print", action="store_true", help="also write the Markdown tables to stdout")
    return parser


if __name__ == "__main__":
    sys.exit(main())
