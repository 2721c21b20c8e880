"""What weeks cost, by hand."""

from datetime import date, timedelta

import pytest

from intentrec.config import Domain
from intentrec.local import terminal
from intentrec.monitoring import costs
from intentrec.monitoring.staleness import plan

WEEK = timedelta(days=7)
FIRST = date(2026, 8, 3)


def attempt(job: str, first: int, last: int, seconds: float | None, number: int, **fields: object) -> dict:
    row = {
        "job": job,
        "start": FIRST + first * WEEK,
        "end": FIRST + last * WEEK,
        "status": "succeeded",
        "seconds": seconds,
        "started_at": number,
        "inputs": {},
        "outputs": {},
        "counts": {},
        "message": None,
        "run_id": f"{number:032x}",
    }
    return {**row, **fields}


LEDGER = [
    attempt("ingest", 0, 4, 80.0, 0),
    attempt("ingest", 1, 2, 30.0, 1),
    attempt("ingest", 2, 3, 100.0, 2),
    attempt("ingest", 2, 3, 999.0, 3, status="failed", message="PipelineError: no such file\nmore"),
    attempt("build_interactions", 1, 2, None, 4, status="running"),
    attempt(
        "build_sequences",
        1,
        2,
        45.0,
        5,
        inputs={"interactions": 7},
        outputs={"sequences": 9},
        counts={"sequences.rows": 1200, "events.late": 3, "events.accepted": 5, "quarantine.reason.unknown_item": 2,
                "quarantine.rows": 2, "events.duplicates": 0},
    ),
]  # fmt: skip


def test_an_estimate_is_the_median_of_good_attempts_per_week() -> None:
    """Over single weeks 30 and 100 seconds: 65; 45; and the third job never succeeded."""
    found = costs.estimate(LEDGER, ("ingest", "build_interactions", "build_sequences"), 4)
    assert found.seconds == {"ingest": 260.0, "build_sequences": 180.0}
    assert found.unknown == ["build_interactions"]
    assert found.minutes == pytest.approx(440 / 60)
    assert costs.estimate(LEDGER[:1], ("ingest",), 4).seconds == {"ingest": 80.0}, "four weeks at once"


def test_a_week_has_every_attempt_that_covered_it() -> None:
    found = costs.of_week(LEDGER, FIRST + WEEK)
    assert [(cost.job, cost.seconds) for cost in found] == [
        ("ingest", 80.0),
        ("ingest", 30.0),
        ("build_interactions", None),
        ("build_sequences", 45.0),
    ]
    last = found[-1]
    assert (last.read, last.written, last.rows) == ({"interactions": 7}, {"sequences": 9}, {"sequences": 1200})
    assert last.refused == {"events late": 3, "unknown_item": 2}
    assert costs.of_week(LEDGER, FIRST + 5 * WEEK) == []


def test_plan_and_costs_on_a_terminal(streaming: Domain, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.console.width = 160
    start, end = FIRST + WEEK, FIRST + 3 * WEEK
    partitions = {"interactions": {start: 10, end: 5}, "title_state": {start: 1}, "sequences": {end: 7}}
    found = plan(start, end, streaming, partitions, [{"as_of": end + WEEK}])
    terminal.plan(
        found, partitions, costs.estimate(LEDGER, ("ingest", "build_interactions"), 2), publish=False, activate=False
    )
    text = " ".join(capsys.readouterr().out.split())
    assert "17 rows rewritten, 2 minutes (ingest 2.2)" in text
    assert "never succeeded here: build_interactions" in text
    assert f"Stale releases as of: {end + WEEK}" in text
    terminal.week_costs(streaming, FIRST + 2 * WEEK, costs.of_week(LEDGER, FIRST + 2 * WEEK))
    text = capsys.readouterr().out
    assert "ingest failed: PipelineError: no such file" in text
    assert "Airflow" not in text
    task = "dag_id=d/run_id=manual__1/task_id=ingest/attempt=2"
    terminal.week_costs(
        streaming, FIRST, costs.of_week([attempt("ingest", 0, 1, 1.0, 0xA << 120, airflow_task=task)], FIRST)
    )
    assert f"ingest 0a000000: Airflow's {task}\n" in capsys.readouterr().out
