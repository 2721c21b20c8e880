"""Markdown that holds whatever its texts hold: tables whose cells cannot break, and code spans for texts from outside.

All Markdown tables of the project come from here. A template shows a value that is not `Markdown` by `quoted`, so a
text from outside cannot become a heading, a link or an image of a page, even if nobody thought of it.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence

LONGEST = 60  # characters of a text from outside
RULES = {"l": "---", "c": ":---:", "r": "---:"}
LINE_BREAK = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")
# What could be markup: active characters, the middle of a link, an address, a mark at the start of a line.
MARKUP = re.compile(
    r"[`*<>\\|~#&!$\x00-\x1f\x7f-\x9f\u2028\u2029]|\][(\[:]|://|www\.|\S@\S|^\s*(?:[-+=]|\d+[.)](?:\s|$))|(?<!\w)_|_(?!\w)"
)
OPEN_PIPE = re.compile(r"(?<!\\)((?:\\\\)*)\|")  # a pipe that no backslash escapes


class Markdown(str):
    """Text that is Markdown already, such as a table or a code span."""

    __slots__ = ()


def quoted(value: object) -> object:
    """A value as a template shows it: Markdown as it is, and any other text so that it holds no markup.

    A text that could be markup becomes a code span, of its full length.
    """
    if isinstance(value, Markdown) or not isinstance(value, str) or not MARKUP.search(value):
        return value
    return _span(_line(value))


def table(headers: Sequence[object], rows: Iterable[Sequence[object]], align: str | None = None) -> Markdown:
    """A Markdown table, without a line break at its end.

    Args:
        headers: one per column. They and all cells are Markdown: bold text, links and code spans work in them. A line
            break becomes a blank and a pipe is escaped, so that no cell ends its row. Give texts from outside (titles,
            labels, users' names for things) to `code` first.
        rows: as many cells each as there are headers. What is not a string is shown by `str`.
        align: a letter per column, `l`, `c` or `r`; the last letter counts for all columns after it. None leaves the
            alignment to the reader's style.

    Raises:
        ValueError: a row has another number of cells, or `align` is empty or holds another letter.
    """
    width = len(headers)
    if align is None:
        rules = ["---"] * width
    elif not align or not set(align) <= RULES.keys():
        raise ValueError(f"align is {align!r}: use the letters l, c and r")
    else:
        rules = [RULES[align[min(column, len(align) - 1)]] for column in range(width)]
    lines = [[_cell(header) for header in headers], rules]
    for row in rows:
        if len(row) != width:
            raise ValueError(f"a row has {len(row)} cells, the table {width} columns: {row!r}")
        lines.append([_cell(cell) for cell in row])
    return Markdown("\n".join(f"| {' | '.join(cells)} |" for cells in lines))


def code(text: str) -> Markdown:
    """Any text as a code span of one line: at most LONGEST characters and no control characters.

    Markdown and HTML mean nothing inside a code span. A backtick becomes an apostrophe and a backslash a slash.
    """
    line = _line(text)
    return _span(line if len(line) <= LONGEST else line[: LONGEST - 1] + "…")


def _line(text: str) -> str:
    visible = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in text)
    return " ".join(visible.split())


def _span(line: str) -> Markdown:
    return Markdown("`" + (line.replace("`", "'").replace("\\", "/") or " ") + "`")


def _cell(content: object) -> str:
    return OPEN_PIPE.sub(r"\1\\|", LINE_BREAK.sub(" ", str(content)))
