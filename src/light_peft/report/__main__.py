"""`python -m light_peft.report FOLDER ...`: the runs at or below the folders as Markdown tables."""

import argparse
import sys
from pathlib import Path

from light_peft.report.tables import markdown
from light_peft.sweeps.cells import read_cells


def main() -> int:
    """Write the tables to stdout; 2 and a message if there is nothing to compare."""
    parser = argparse.ArgumentParser(prog="python -m light_peft.report", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, help="run folders, or folders that hold some")
    try:
        sys.stdout.write(markdown(read_cells(parser.parse_args().folders)))
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
