"""Tables as Markdown and LaTeX: whatever a name holds, columns and braces stay whole."""

import re

from light_peft.report.markup import Table, latex_text, markdown_code, to_latex, to_markdown

NAMES = ("a_b & 50 % #1 $x$", r"{C}\ ~ ^ | <b>", "[1] *", "Größe 中 α ± × −", "two\nlines", "`code`")
TABLE = Table("What & how", ("name", "x_1"), tuple((name, "1.0 ± 0.1") for name in NAMES), names=1)


def columns_of(line: str, separator: str) -> int:
    return len(re.split(rf"(?<!\\){re.escape(separator)}", line))


def test_latex_has_whole_rows_and_balanced_braces() -> None:
    text = to_latex(TABLE, ["a note_1", "[2] another"])
    plain = re.sub(r"\\[{}]", "", text)
    assert plain.count("{") == plain.count("}")
    rows = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert len(rows) == 1 + len(NAMES)
    assert {columns_of(row, "&") for row in rows} == {2}
    assert r"\begin{tabular}{lr}" in text
    assert text.count(r"\begin{") == text.count(r"\end{") == 2
    for special in "#%_":
        assert not re.search(rf"(?<!\\){special}", text)
    assert not any(line.lstrip().startswith(("[", "*")) for line in text.splitlines())
    assert "a note\\_1" in text


def test_latex_of_each_special_character() -> None:
    assert latex_text("lora_light_33 & 40 %") == r"lora\_light\_33 \& 40 \%"
    assert latex_text("\\{~^") == r"\textbackslash{}\{\textasciitilde{}\textasciicircum{}"
    assert latex_text("−1.0 ± 2 1.5× Größe") == r"$-$1.0 $\pm$ 2 1.5$\times$ Größe"


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
