"""Charts of the HTML pages: matplotlib figures that are embedded as SVG, so that a page opens without a network.

The same data make the same bytes. Backgrounds are transparent and colours of medium brightness, for light and dark
pages. Charts hold no text from outside; the page shows labels and numbers beside them.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, LINE = "#7b848e", "#9aa3ac"
TOTAL, DERIVED, LOST, BEYOND = "#5580bd", "#8497ab", "#cf8440", "#c0861c"
# Of the parts of a stack, in this order.
PARTS = ("#5580bd", "#cf8440", "#4f9a6a", "#a866a8", "#c0861c", "#c25b5b", "#4a9aa5", "#8497ab", "#7d8f3c", "#8a74c4")
SMALL = 10  # font size in pixels
PIXEL = 1 / 72  # inches; a figure has 72 dots per inch
BAR, WIDTH = 27, 560  # pixels: height of a waterfall's row, width of all bars
THINNEST = 0.0025  # of the width: a bar of one row among millions stays visible


@dataclass(frozen=True)
class Bar:
    """One bar of the waterfall: `value` rows, drawn after the `before` rows that remain to its left.

    `kind` is total (all rows of a step), lost (rows that a step took away) or derived (rows of another table). `share`
    is the part of the raw rows, None for derived rows.
    """

    label: str
    value: int
    before: int
    kind: str
    share: float | None


def weekly(weeks: Sequence[date], values: Sequence[float | None], bound: float | None, scale: str) -> "Figure":
    """A small line chart over weeks. It begins at zero, or at the least value where that is negative.

    Args:
        weeks: first service dates, one per value.
        values: None where nothing was measured: the line has a gap there.
        bound: drawn dashed; points above it have the colour of warnings.
        scale: the greatest value (or the bound, where it is greater) as text.
    """
    figure = _figure(240, 78)
    axes = figure.add_axes((0.02, 0.21, 0.96, 0.58))
    known = [value for value in values if value is not None]
    high = max([*known, *([bound] if bound is not None else []), 0.0])
    low = min([*known, 0.0])
    margin = (high - low or 1.0) * 0.06
    axes.set_ylim(low - margin, (high if high > low else low + 1.0) + margin)
    axes.set_xlim(-0.3, max(len(weeks) - 1, 1) + 0.3)
    axes.axhline(low - margin, color=LINE, linewidth=1)
    drawn = [float("nan") if value is None else value for value in values]
    axes.plot(range(len(weeks)), drawn, "-o", color=TOTAL, linewidth=1.6, markersize=3.6, gid="values")
    if bound is not None:
        axes.axhline(bound, color=BEYOND, linewidth=1, linestyle=(0, (4, 3)), gid="bound")
        over = [(place, value) for place, value in enumerate(drawn) if value > bound]
        axes.plot(*zip(*over, strict=True) if over else ((), ()), "o", color=BEYOND, markersize=4.4, gid="beyond")
    axes.set_axis_off()
    figure.text(0.02, 0.86, scale, color=INK, size=SMALL)
    figure.text(0.02, 0.03, str(weeks[0]), color=INK, size=SMALL)
    if len(weeks) > 1:
        figure.text(0.98, 0.03, str(weeks[-1]), color=INK, size=SMALL, ha="right")
    return figure


def waterfall(bars: Sequence[Bar]) -> "Figure":
    """Horizontal bars on one scale, BAR pixels high each, so that they stand beside the rows of a table."""
    figure = _figure(WIDTH, BAR * len(bars))
    axes = figure.add_axes((0, 0, 1, 1))
    most = max((bar.before + bar.value for bar in bars), default=0) or 1
    colours = {"total": TOTAL, "lost": LOST, "derived": DERIVED}
    widths = [max(bar.value, most * THINNEST) if bar.value else 0 for bar in bars]
    axes.barh(
        range(len(bars)), widths, 0.68, left=[bar.before for bar in bars], color=[colours[bar.kind] for bar in bars]
    )
    derived = next((place for place, bar in enumerate(bars) if bar.kind == "derived"), None)
    if derived:
        axes.axhline(derived - 0.5, color=LINE, linewidth=1, linestyle=(0, (3, 4)))
    axes.set_xlim(0, most * (1 + THINNEST))
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_axis_off()
    return figure


def stacks(rows: Sequence[Sequence[float]], most: float | None = None) -> "Figure":
    """Stacked horizontal bars on one scale, BAR pixels high each, so that they stand beside the rows of a table.

    Positive parts stack to the right of the zero line, negative ones to the left. The k-th part has the colour
    PARTS[k], counted round.

    Args:
        rows: the parts of each row, as many in each.
        most: right end of the scale; None for the longest stack.
    """
    figure = _figure(WIDTH, BAR * len(rows))
    axes = figure.add_axes((0, 0, 1, 1))
    right, left = [0.0] * len(rows), [0.0] * len(rows)
    for number, parts in enumerate(zip(*rows, strict=True)):
        begin = [right[place] if value >= 0 else left[place] for place, value in enumerate(parts)]
        axes.barh(range(len(rows)), parts, 0.68, left=begin, color=PARTS[number % len(PARTS)])
        right = [end + max(value, 0.0) for end, value in zip(right, parts, strict=True)]
        left = [end + min(value, 0.0) for end, value in zip(left, parts, strict=True)]
    low, high = min([*left, 0.0]), max([*right, 0.0]) if most is None else most
    axes.axvline(0, color=LINE, linewidth=1)
    margin = (high - low or 1.0) * THINNEST
    axes.set_xlim(low - margin, high + margin)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_axis_off()
    return figure


def svg_uri(figure: "Figure") -> str:
    """The figure as a data URI of an SVG image."""
    from matplotlib import rc_context

    target = BytesIO()
    # Text stays text. Without a salt, ids are random.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "intentrec"}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(target, format="svg", transparent=True, metadata=nothing)
    return "data:image/svg+xml;base64," + base64.b64encode(target.getvalue()).decode()


def png_uri(path: Path) -> str:
    """A PNG file as a data URI."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def _figure(width: float, height: float) -> "Figure":
    """An empty figure; width and height in pixels."""
    from matplotlib.figure import Figure  # late: most processes that import a page's module draw nothing

    return Figure(figsize=(width * PIXEL, height * PIXEL), dpi=72)
