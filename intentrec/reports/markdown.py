"""Markdown that holds whatever its texts hold: tables whose cells cannot break, and code spans for texts from outside.

All Markdown tables of the project come from here.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence

LONGEST = 60  # characters of a text from outside
RULES = {"l": "---", "c": ":---:", "r": "---:"}
LINE_BREAK = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")
OPEN_PIPE = re.compile(r"(?<!\\)((?:\\\\)*)\|")  # a pipe that no backslash escapes


def table(headers: Sequence[object], rows: Iterable[Sequence[object]], align: str | None = None) -> str:
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
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def code(text: str) -> str:
    """Any text as a code span of one line: at most LONGEST characters and no control characters.

    Markdown and HTML mean nothing inside a code span. A backtick becomes an apostrophe and a backslash a slash.
    """
    visible = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in text)
    line = " ".join(visible.split())
    line = line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"
    return "`" + (line.replace("`", "'").replace("\\", "/") or " ") + "`"


def _cell(content: object) -> str:
    return OPEN_PIPE.sub(r"\1\\|", LINE_BREAK.sub(" ", str(content)))
