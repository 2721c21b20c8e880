"""Weeks whose files were delivered again, or later, against files in a folder. No Spark."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from intentrec.config import Domain, Profile
from intentrec.monitoring.redelivery import redelivered
from intentrec.sources.delivery import File, digest
from intentrec.storage.runs import report_dir
from tests.sources.landing import deliver, event, events_of, item, snapshot_of

WEEK = timedelta(days=7)
FIRST = date(2026, 8, 3)
FILE = "part-0.jsonl.gz"


def ingested(profile: Profile, domain: Domain, folder: Path, start: date, names: list[str]) -> dict[str, Any]:
    """A row of the ledger about these files as they are now, and the record of the files."""
    files = [
        File(name, path.stat().st_size, path.stat().st_mtime_ns // 1_000_000, _sha256(path), simulated=False)
        for name in names
        for path in [folder / name]
    ]
    about = {"folder": str(folder), "sha256": digest(files)}
    record = report_dir(profile, domain, start, start + WEEK) / f"delivery-{about['sha256'][:16]}.json"
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps({"list": [asdict(file) for file in files]}))
    row = {"run_id": str(start), "job": "ingest", "start": start, "end": start + WEEK, "status": "succeeded"}
    return {**row, "delivery": about}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def again(folder: Path) -> None:
    """The same rows, delivered a day later."""
    path = events_of(folder, date(2026, 8, 5)) / FILE
    os.utime(path, (path.stat().st_mtime + 86_400,) * 2)


def of_the_same_size(folder: Path) -> None:
    path = events_of(folder, date(2026, 8, 5)) / FILE
    path.write_bytes(bytes(reversed(path.read_bytes())))
    os.utime(path, (path.stat().st_mtime + 86_400,) * 2)


CHANGES: list[Any] = [
    pytest.param(lambda folder: None, set(), id="nothing"),
    pytest.param(again, set(), id="the same content again"),
    pytest.param(of_the_same_size, {FIRST}, id="other content of the same size"),
    pytest.param(
        lambda folder: deliver(events_of(folder, date(2026, 8, 5)), [event(), event()]), {FIRST}, id="a longer file"
    ),
    pytest.param(
        lambda folder: deliver(events_of(folder, date(2026, 8, 6)), [event()]), {FIRST}, id="a day that was missing"
    ),
    pytest.param(
        lambda folder: deliver(events_of(folder, date(2026, 8, 11)), [event()], "b.jsonl.gz"),
        {FIRST, FIRST + WEEK},
        id="a file of a day that both weeks read",
    ),
    pytest.param(
        lambda folder: deliver(snapshot_of(folder, FIRST), [item(), item()]), {FIRST}, id="a corrected catalogue"
    ),
    pytest.param(
        lambda folder: deliver(events_of(folder, date(2026, 8, 12)), [event()], "b.jsonl.gz"),
        {FIRST + WEEK},
        id="a file of the day of the deadline: rows that are too late go on arriving",
    ),
    pytest.param(lambda folder: (folder / "readme.txt").write_text("x"), set(), id="a file that no run reads"),
    pytest.param(
        lambda folder: (events_of(folder, date(2026, 8, 5)) / FILE).unlink(), set(), id="a file that was removed"
    ),
]


@pytest.mark.parametrize(("change", "stale"), CHANGES)
def test_a_redelivered_file_makes_the_weeks_stale_that_read_it(
    profile: Profile, streaming: Domain, tmp_path: Path, change: Callable[[Path], object], stale: set[date]
) -> None:
    folder = tmp_path / "raw"
    deliver(snapshot_of(folder, FIRST), [item()])
    for day in (date(2026, 8, 5), date(2026, 8, 11), date(2026, 8, 13)):
        deliver(events_of(folder, day), [event()])
    snapshot = f"catalog/snapshot={FIRST}/{FILE}"
    events = [f"events/arrived=2026-08-{day}/{FILE}" for day in ("05", "11", "13")]
    ledger = [
        ingested(profile, streaming, folder, FIRST, [snapshot, *events[:2]]),
        ingested(profile, streaming, folder, FIRST + WEEK, events[1:]),
    ]
    change(folder)
    found = redelivered(profile, streaming, ledger)
    assert found.weeks == {("ingest", week) for week in stale}
    assert found.unchecked == []


def test_what_cannot_be_listed_is_said_and_not_called_stale(
    profile: Profile, streaming: Domain, tmp_path: Path
) -> None:
    deliver(events_of(tmp_path, date(2026, 8, 5)), [event()])
    row = ingested(profile, streaming, tmp_path, FIRST, [f"events/arrived=2026-08-05/{FILE}"])
    row["delivery"]["folder"] = "nowhere://bucket/raw"
    found = redelivered(profile, streaming, [row, {**row, "job": "build_sequences", "delivery": {}}])
    assert found.weeks == set()
    assert "nowhere://bucket/raw cannot be listed" in found.unchecked[0]
    gone = {**row, "delivery": {**row["delivery"], "sha256": "0" * 64}}
    assert redelivered(profile, streaming, [gone]).weeks == set(), "its record is on another machine"
