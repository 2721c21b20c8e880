"""Which attempts are still open."""

from datetime import UTC, date, datetime, timedelta

from intentrec.monitoring.unfinished import unfinished

FIRST = date(2026, 8, 3)
WEEK = timedelta(days=7)
NOW = datetime(2026, 9, 1, tzinfo=UTC)


def test_a_killed_attempt_is_open_until_a_later_one_covers_its_weeks() -> None:
    steps = [
        ("ingest", 0, 1, "killed"),  # made again as part of a range
        ("ingest", 0, 2, "succeeded"),
        ("build_interactions", 0, 2, "killed"),
        ("build_interactions", 0, 1, "succeeded"),  # one of its two weeks
        ("build_sequences", 0, 1, "succeeded"),
        ("build_sequences", 0, 1, "killed"),
        ("build_sequences", 0, 1, "failed"),
        ("publish", 0, 1, "running"),
        ("publish", 0, 1, "succeeded"),
        ("report", 0, 1, "skipped"),
    ]
    ledger = [
        {
            "run_id": f"r{number}",
            "job": job,
            "start": FIRST + a * WEEK,
            "end": FIRST + b * WEEK,
            "status": status,
            "message": "gone" if status == "killed" else None,
            "started_at": NOW - timedelta(hours=10 - number),
        }
        for number, (job, a, b, status) in enumerate(steps)
    ]
    found = unfinished(ledger, NOW)
    assert [(each.attempt["run_id"], each.about) for each in found] == [
        ("r2", "gone"),
        ("r5", "gone"),
        ("r7", "on a machine that is not known"),
    ]
    assert [each.age for each in found] == [timedelta(hours=hours) for hours in (8, 5, 3)]
