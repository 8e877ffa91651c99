"""A table of plain texts as Markdown and as LaTeX."""

from collections.abc import Iterable
from dataclasses import dataclass

LATEX = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "{}$&#%_"},
    **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$", "|": r"\textbar{}"},
    # A row that begins with a bracket or a star would be read as an argument of the line break before it.
    **{"[": "{[}", "]": "{]}", "*": "{*}"},
    **{"±": r"$\pm$", "×": r"$\times$", "−": "$-$", "…": r"\ldots{}"},
}
"""What stands in LaTeX for a character that means something else there, or needs a command."""


@dataclass(frozen=True)
class Table:
    """A table of plain texts.

    Attributes:
        caption: What it shows, in a sentence or two.
        header: The names of its columns.
        rows: Its lines, as many texts each as there are columns.
        names: Number of columns, at the left, that hold names; the others hold figures.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    names: int


def to_markdown(table: Table) -> str:
    """Return the table as Markdown, its caption above it."""
    ruler = ["---"] * table.names + ["---:"] * (len(table.header) - table.names)
    lines = [map(markdown_text, table.header), ruler, *(map(markdown_text, row) for row in table.rows)]
    return "\n".join([table.caption, "", *("| " + " | ".join(line) + " |" for line in lines)])


def to_latex(table: Table, notes: Iterable[str] = ()) -> str:
    """Return the table as a LaTeX float for booktabs and adjustbox, its notes in small type below it."""
    columns = "l" * table.names + "r" * (len(table.header) - table.names)
    small = [rf"\par {latex_text(note)}" for note in notes]
    return "\n".join(
        [
            r"\begin{table*}",
            r"\centering\small",
            rf"\caption{{{latex_text(table.caption)}}}",
            r"\begin{adjustbox}{max width=\textwidth}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            _latex_row(table.header),
            r"\midrule",
            *map(_latex_row, table.rows),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{adjustbox}",
            *([r"\par\medskip\raggedright\footnotesize", *small] if small else []),
            r"\end{table*}",
        ]
    )


def markdown_text(text: str) -> str:
    """Return a text as it can stand in a cell of a Markdown table."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def markdown_code(text: str) -> str:
    """Return a text as code within a line of Markdown, whatever backticks it holds."""
    ticks = "`" * (1 + max((len(run) for run in _runs(text, "`")), default=0))
    space = " " if "`" in text else ""
    return f"{ticks}{space}{text}{space}{ticks}"


def latex_text(text: str) -> str:
    """Return a text as LaTeX; letters of whatever alphabet stay as they are."""
    return "".join(LATEX.get(sign, sign) for sign in " ".join(text.split()))


def _latex_row(cells: Iterable[str]) -> str:
    return " & ".join(map(latex_text, cells)) + r" \\"


def _runs(text: str, sign: str) -> list[str]:
    return [run for run in "".join(c if c == sign else " " for c in text).split() if run]
