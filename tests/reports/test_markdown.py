"""Tables and code spans that hold whatever their texts hold."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from intentrec.reports.markdown import Markdown, code, quoted, table


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("t001", "`t001`"),
        ("<script>alert(1)</script>", "`<script>alert(1)</script>`"),
        ("[click](https://example.com)", "`[click](https://example.com)`"),
        ("`` ends the span", "`'' ends the span`"),
        ("one | cell", "`one | cell`"),
        ("back\\| slash", "`back/| slash`"),
        ("two\n\n# lines\t\x00 and \u202e more", "`two # lines and more`"),
        ("x" * 100, "`" + "x" * 59 + "…`"),
        ("", "` `"),
    ],
)
def test_a_text_from_outside_cannot_become_markup(text: str, shown: str) -> None:
    assert code(text) == shown


def test_a_table() -> None:
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
    assert table(["a"], []) == "| a |\n| --- |"


@pytest.mark.parametrize(
    ("align", "rule"), [("l", "--- | --- | ---"), ("lr", "--- | ---: | ---:"), ("rcl", "---: | :---: | ---")]
)
def test_the_last_letter_of_the_alignment_counts_for_all_after_it(align: str, rule: str) -> None:
    assert table(["a", "b", "c"], [], align).splitlines()[1] == f"| {rule} |"


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("one | cell", r"one \| cell"),
        (r"escaped \| already", r"escaped \| already"),
        (r"a backslash \\| before", r"a backslash \\\| before"),
        ("two\r\nlines\n\nand more", "two lines and more"),
        ("a\u2028b\x85c\x0cd", "a b c d"),
        (None, "None"),
        (3, "3"),
        (code("one | cell"), r"`one \| cell`"),
        (code("back\\| slash"), r"`back/\| slash`"),
    ],
)
def test_a_cell_cannot_end_its_row(cell: object, shown: str) -> None:
    assert table(["x"], [[cell]]).splitlines()[2] == f"| {shown} |"
    assert table([cell], []).splitlines()[0] == f"| {shown} |"


@settings(max_examples=50)
@given(st.lists(st.lists(st.text(max_size=12), min_size=2, max_size=2), max_size=3))
def test_any_texts_make_a_table_of_their_size(rows: list[list[str]]) -> None:
    """As code spans, also for a reader of Markdown: no text adds a cell, a row or a tag."""
    page = table(["a", "b"], [[code(cell) for cell in row] for row in rows])
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(page)
    assert html.count("<tr>") == 1 + len(rows)
    assert html.count("<td>") == html.count("<td><code>") == 2 * len(rows)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lift over the champion in ndcg_at_10 is +1.0%, 95% interval [-0.1%, +2.0%] over 1,234 users",
        "version 3, 900 rows of 2 weekly snapshots as of 2026-08-10 to 2026-08-17 (best 4)",
        "∞ ± 0.5 of 'words' \"in\" Ελληνικά; a/b, c: d?",
    ],
)
def test_a_harmless_text_is_shown_as_it_is(text: str) -> None:
    assert quoted(text) == text
    assert quoted(Markdown("**bold**")) == "**bold**"
    assert quoted(7) == 7


@settings(max_examples=200)
@given(st.text() | st.text(alphabet="#*_[]()!<>`-+=~|\\/:.@&\n\r ahtpw1", max_size=20))
def test_any_quoted_text_is_text_wherever_a_template_shows_it(text: str) -> None:
    """At the start of a list entry, in a heading, in a paragraph and between stars."""
    page = "# a {value}\n\n- {value}\n- b {value} c\n\n{value} d **{value}**\n"
    reader = MarkdownIt("commonmark", {"html": True, "linkify": True}).enable(["table", "linkify", "strikethrough"])
    shown, harmless = (reader.render(page.replace("{value}", str(value))) for value in (quoted(text), "x"))
    tags = re.compile(r"<(?!/?(?:code|strong)>)/?[a-z]\w*")
    assert tags.findall(shown) == tags.findall(harmless) or not str(quoted(text)).strip()


def test_mistakes_of_the_caller_are_named() -> None:
    with pytest.raises(ValueError, match="a row has 1 cells, the table 2 columns"):
        table(["a", "b"], [["1"]])
    for align in ("", "x"):
        with pytest.raises(ValueError, match="use the letters l, c and r"):
            table(["a"], [], align)
