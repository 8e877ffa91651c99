"""Tables as Markdown and LaTeX: whatever a name holds, columns and braces stay whole."""

import re

from hypothesis import given
from hypothesis.strategies import text

from light_peft.report.markup import Table, latex_text, markdown_code, markdown_text, to_latex, to_markdown

NAMES = ("a_b & 50 % #1 $x$", r"{C}\ ~ ^ | <b>", "[1] *", "Größe 中 α ± × −", "two\nlines", "`code`")
TABLE = Table("What & how", ("name", "x_1"), tuple((name, "1.0 ± 0.1") for name in NAMES), names=1)


def columns_of(line: str, separator: str) -> int:
    return len(re.split(rf"(?<!\\){re.escape(separator)}", line))


def test_latex_has_whole_rows_and_balanced_braces() -> None:
    found = to_latex(TABLE, ["a note_1", "[2] another"])
    plain = re.sub(r"\\[{}]", "", found)
    assert plain.count("{") == plain.count("}")
    rows = [line for line in found.splitlines() if line.endswith(r" \\")]
    assert len(rows) == 1 + len(NAMES)
    assert {columns_of(row, "&") for row in rows} == {2}
    assert r"\begin{tabular}{lr}" in found
    assert found.count(r"\begin{") == found.count(r"\end{") == 3
    for special in "#%_":
        assert not re.search(rf"(?<!\\){special}", found)
    assert not any(line.lstrip().startswith(("[", "*")) for line in found.splitlines())
    assert "a note\\_1" in found


def test_latex_of_each_special_character() -> None:
    assert latex_text("lora_light_33 & 40 %") == r"lora\_light\_33 \& 40 \%"
    assert latex_text("\\{~^") == r"\textbackslash{}\{\textasciitilde{}\textasciicircum{}"
    assert latex_text("−1.0 ± 2 1.5× Größe") == r"$-$1.0 $\pm$ 2 1.5$\times$ Größe"


@given(text(alphabet="\\{}$&#%_~^<>|[]*±×−…`ab é中\n"))
def test_no_text_breaks_out_of_its_cell(name: str) -> None:
    found = latex_text(name)
    for command in (r"\textbackslash{}", r"\textasciitilde{}", r"\textasciicircum{}", r"\textbar{}", r"\ldots{}"):
        found = found.replace(command, "")
    found = re.sub(r"\\[{}$&#%_]|\{[\[\]*]\}|\$(<|>|-|\\pm|\\times)\$", "", found)
    assert not set(found) & set("\\{}$&#%_^~\n")
    assert columns_of(markdown_text(name), "|") == 1


def test_markdown_has_whole_rows() -> None:
    lines = to_markdown(TABLE).splitlines()
    assert lines[:2] == ["What & how", ""]
    assert lines[3] == "| --- | ---: |"
    assert {columns_of(line, "|") for line in lines[2:]} == {4}
    assert len(lines) == 4 + len(NAMES)
    assert "<b>" not in "".join(lines)


def test_code_in_markdown_ends_where_it_should() -> None:
    assert markdown_code("python -m run") == "`python -m run`"
    assert markdown_code("a `b` c") == "`` a `b` c ``"
