"""The tables that commands print."""

from datetime import UTC, date, datetime, timedelta

from intentrec.config import Domain
from intentrec.local import terminal
from intentrec.monitoring.unfinished import Unfinished


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


def test_status_lists_attempts_without_an_end_also_before_there_are_tables(streaming: Domain, capsys) -> None:
    row = {"run_id": "3f9a1c04ff", "job": "ingest", "start": date(2026, 8, 3), "end": date(2026, 8, 10)}
    attempts = [
        Unfinished({**row, "status": "running"}, timedelta(minutes=30), "process 7 lives"),
        Unfinished({**row, "status": "killed"}, timedelta(hours=3), "process 8 ended"),
    ]
    terminal.status(streaming, {}, set(), set(), [], attempts)
    assert capsys.readouterr().out.splitlines()[1:] == [
        "running: ingest [2026-08-03, 2026-08-10), run 3f9a1c04, begun 0.5 h ago: process 7 lives",
        "killed: ingest [2026-08-03, 2026-08-10), run 3f9a1c04, begun 3.0 h ago: process 8 ended",
    ]
