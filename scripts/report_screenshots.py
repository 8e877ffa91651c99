"""Screenshots of a report in a headless browser, at the width of a phone and of a desktop, light and dark.

    python scripts/report_screenshots.py outputs/tables/glue_small/report.html --folder docs/images --stem report

Writes STEM-phone.png, STEM-desktop.png and the same with -dark, each of the whole page or of what --element selects.
What is wrong with the page is said, and makes the exit code 1: something wider than the window, a complaint of the
browser, a request to anywhere else.
"""

import argparse
import sys
from pathlib import Path

from browser import Page, browser_page

WIDTHS = {"phone": (390, 844), "desktop": (1280, 860)}
"""CSS pixels."""


def main() -> int:
    """Make the pictures; 2 if there is no browser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("--folder", type=Path, default=Path(), help="where the pictures go")
    parser.add_argument("--stem", default="report", help="how their names begin")
    parser.add_argument("--element", default="body", help="CSS selector of what is to be seen")
    parser.add_argument("--height", type=int, help="pixels of it at most, from its top")
    parser.add_argument("--task", default="", help="show the figures of this task alone")
    asked = parser.parse_args()
    if not asked.page.is_file():
        parser.error(f"{asked.page} does not exist; python -m light_peft.report writes it")
    asked.folder.mkdir(parents=True, exist_ok=True)
    wrong: list[str] = []
    try:
        with browser_page() as page:
            for name, (width, height) in WIDTHS.items():
                for dark in (False, True):
                    page.open(asked.page, width=width, height=height, dark=dark)
                    page.run(f"chooseTask({asked.task!r})")
                    target = asked.folder / f"{asked.stem}-{name}{'-dark' * dark}.png"
                    target.write_bytes(page.shoot(asked.element, asked.height))
                    print(target)
                    wrong += [f"{target.name}: {text}" for text in faults(page)]
    except FileNotFoundError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(wrong), file=sys.stderr)
    return int(bool(wrong))


def faults(page: Page) -> list[str]:
    """What is wrong with a page that is open."""
    wide = page.run("document.documentElement.scrollWidth - innerWidth")
    found = [f"{wide} pixels wider than the window"] if wide > 0 else []
    found += [f"asks for {url[:120]}" for url in page.requests() if not url.startswith(("file:", "data:"))]
    return found + page.complaints()


if __name__ == "__main__":
    sys.exit(main())
