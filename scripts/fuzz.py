"""Give the program bad inputs by the hundred and say what came of them.

    python scripts/fuzz.py [--count 15] [--seed 0] [--kind settings] [--all]

Of every kind (or those whose name holds --kind) at most --count distinct inputs are drawn: settings, data files,
objects, models, run folders. Each must give one message that names what is wrong, exit code 2, and leave nothing
half-written; what chance changed may also be taken as it is. A table of the kinds goes to the terminal, and every
offence; --all shows each input with its message. Exit code 1 if there is one.
The same seed draws the same inputs.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # the generators are those of the tests

import conftest  # noqa: F401  no network, one thread
from fuzz.case import Case, Verdict, judge
from fuzz.draw import KINDS, draw
from fuzz.stock import Stock


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=15, help="inputs of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", default="", help="a part of the names of the kinds")
    parser.add_argument("--all", action="store_true", help="show every input with its message")
    given = parser.parse_args()
    console, root = Console(width=160), Path(tempfile.mkdtemp(prefix="fuzz-"))
    table = Table("kind", "distinct inputs", "refused", "taken as they are", "offences")
    totals = [0, 0, 0, 0]
    (root / "stock").mkdir()
    stock = Stock(root / "stock")
    for kind in [kind for kind in KINDS if given.kind in kind]:
        cases = draw(kind, given.count, given.seed)
        came = [tried(case, stock, root / f"{kind}.{number}") for number, case in enumerate(cases)]
        show(console, cases, came, everything=given.all)
        offences = sum(verdict.offence is not None for verdict in came)
        refused = sum(verdict.offence is None and verdict.message is not None for verdict in came)
        row = [len(cases), refused, len(cases) - refused - offences, offences]
        totals = [total + number for total, number in zip(totals, row, strict=True)]
        table.add_row(kind, *map(str, row))
    table.add_section()
    table.add_row("all", *map(str, totals))
    console.print(table)
    shutil.rmtree(root)
    return 1 if totals[-1] else 0


def tried(case: Case, stock: Stock, folder: Path) -> Verdict:
    """Return what came of an input; its folder is gone afterwards."""
    try:
        return judge(case, stock, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def show(console: Console, cases: list[Case], came: list[Verdict], *, everything: bool) -> None:
    for case, verdict in zip(cases, came, strict=True):
        if verdict.offence is not None:
            console.print(f"[red]offence:[/] {escape(f'{case.kind}, {case.what[:300]}: {verdict.offence}')}")
        elif everything:
            console.print(escape(f"{case.kind}, {case.what[:300]}: {verdict.message or 'taken as it is'}"), markup=True)


if __name__ == "__main__":
    sys.exit(main())
