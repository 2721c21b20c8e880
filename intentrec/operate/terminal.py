"""How tables of text look."""

import sys

from rich import box
from rich.console import Console
from rich.table import Table

WIDTH = 160  # of output that is no terminal: a log must not cut columns
console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDTH)


def grid(title: str, *columns: str) -> Table:
    """A titled table whose columns after the first hold numbers."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    return table
