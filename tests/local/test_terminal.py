"""The tables that commands print."""

from datetime import UTC, date, datetime

from intentrec.config import Domain
from intentrec.local import terminal


def test_status_marks_stale_missing_and_refused_weeks_and_the_active_release(streaming: Domain, capsys) -> None:
    partitions = {
        "interactions": {date(2026, 8, 3): 40, date(2026, 8, 9): 2, date(2026, 8, 10): 7},
        "sequences": {date(2026, 8, 10): 5, date(2026, 8, 17): 6},
    }
    releases = [{"as_of": date(2026, 8, 17), "model_version": "3", "active": True, "at": datetime.now(UTC)}]
    terminal.console.width = 160
    stale, refused = {("build_sequences", date(2026, 8, 10))}, {("ingest", date(2026, 8, 10))}
    terminal.status(streaming, partitions, stale, refused, releases)
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if "2026-" in line]
    assert [[cell for cell in line if cell not in ("│", "┃")] for line in lines] == [
        ["2026-08-03", "-", "42", "-", "5"],
        ["2026-08-10", "-!", "!", "!", "7", "-", "6*", "model", "3", "(active)"],
    ]
