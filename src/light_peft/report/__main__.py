"""`python -m light_peft.report FOLDER ...`: the runs at or below the folders as one Markdown table."""

import argparse
import sys
from pathlib import Path

from light_peft.report.compare import markdown, read_records, settings_of


def main() -> int:
    """Write the table to stdout; 2 and a message if there is nothing to compare."""
    parser = argparse.ArgumentParser(prog="python -m light_peft.report", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, help="run folders, or folders that hold some")
    try:
        sys.stdout.write(markdown(settings_of(read_records(parser.parse_args().folders))) + "\n")
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
