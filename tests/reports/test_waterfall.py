"""The chart of what became of the raw rows."""

from matplotlib.patches import Rectangle

from intentrec.reports import charts, run_page
from tests.reports.pages import COUNTS, EMBEDDED


def test_the_waterfall_is_the_ledgers_counts() -> None:
    bars = run_page.waterfall(COUNTS | {"interactions.rows": 300, "sequences.rows": 20, "user_intents.rows": 20})
    assert [(bar.label, bar.value) for bar in bars] == [
        ("raw events read", 1000),
        ("outside", 150),
        ("late", 10),
        ("duplicates", 100),
        ("replaced", 0),
        ("quarantined", 40),
        ("accepted events", 700),
        ("interactions", 300),
        ("sequences", 20),
        ("user_intents", 20),
    ]
    # Each loss begins where the rows that are left end.
    assert [bar.before for bar in bars[:7]] == [0, 850, 840, 740, 740, 700, 0]
    assert [bar.share for bar in bars[:7]] == [1.0, 0.15, 0.01, 0.1, 0.0, 0.04, 0.7]
    assert all(bar.share is None and bar.before == 0 for bar in bars[7:])
    drawn = drawn_bars(bars)
    assert drawn == [(bar.before, bar.value) for bar in bars], "on one linear scale"


def test_waterfall_of_few_counts() -> None:
    assert run_page.waterfall({}) == []
    nothing = run_page.waterfall({"events.read": 0})
    assert [width for _, width in drawn_bars(nothing)] == [0] * 7
    assert [bar.share for bar in nothing] == [None] * 7
    one_among_many = {"events.read": 10_000_000, "events.late": 1, "events.accepted": 9_999_999}
    assert drawn_bars(run_page.waterfall(one_among_many))[2][1] == 10_000_000 * charts.THINNEST


def drawn_bars(bars: list[charts.Bar]) -> list[tuple[float, float]]:
    """Begin and width of every bar of the figure, from the first row down."""
    (axes,) = charts.waterfall(bars).axes
    return [(patch.get_x(), patch.get_width()) for patch in axes.patches if isinstance(patch, Rectangle)]


def test_the_same_data_make_the_same_chart() -> None:
    bars = run_page.waterfall(COUNTS)
    first, second = (charts.svg_uri(charts.waterfall(bars)) for _ in range(2))
    assert first == second
    assert EMBEDDED.fullmatch(first)
