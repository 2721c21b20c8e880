"""The files that a reader read: names, sizes and hashes, and which of them are simulated."""

import hashlib
import json
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from intentrec.config import marker_name
from intentrec.sources import delivery, jsonl
from intentrec.storage.runs import Run
from tests.sources.landing import deliver, event, events_of, item, snapshot_of

FIRST, SECOND, THIRD = (date(2026, 8, day) for day in (3, 4, 5))
WEEK = timedelta(days=7)


def test_the_files_behind_the_rows_are_recorded(
    spark: SparkSession, new_run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is simulated; one was simulated and is now a real file under the same name; one always was real."""
    root = tmp_path / "raw zone%20"
    monkeypatch.setenv("INTENTREC_DATA", str(root))
    snapshot = deliver(snapshot_of(root, FIRST), [item()])
    simulated, replaced = (deliver(events_of(root, day), [event(event_id=str(day))]) for day in (FIRST, SECOND))
    deliver(events_of(root, THIRD), [event()])
    for path in (simulated, replaced):
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        path.with_name(marker_name(path.name)).write_text(f"{sha256}\n")
    deliver(replaced.parent, [event(event_id="real")])
    run = new_run("ingest", FIRST, FIRST + WEEK)
    frames = (jsonl.read_catalog(spark, run), jsonl.read_events(spark, run, FIRST, THIRD))
    delivery.record(spark, run, frames)
    paths = (snapshot, simulated, replaced)
    assert run.delivery["folder"] == str(root)
    assert run.delivery["named_by"] == "INTENTREC_DATA"
    assert run.delivery["simulated_files"] == "1"
    assert (run.delivery["files"], run.delivery["bytes"]) == ("3", str(sum(path.stat().st_size for path in paths)))
    (record,) = run.report_dir.glob("delivery-*.json")
    listed = {each["name"]: each for each in json.loads(record.read_text())["list"]}
    assert {name: (each["sha256"], each["size"], each["simulated"]) for name, each in listed.items()} == {
        str(path.relative_to(root)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_size,
            path == simulated,
        )
        for path in paths
    }
    row = {"start": run.start, "end": run.end, "delivery": run.delivery}
    files = delivery.files_of(run.profile, run.domain, row)
    assert files is not None
    assert delivery.digest(files) == run.delivery["sha256"]
    deliver(replaced.parent, [event(event_id="real"), event(event_id="more")])
    delivery.record(spark, run, (jsonl.read_events(spark, run, FIRST, THIRD),))
    assert len(list(run.report_dir.glob("delivery-*.json"))) == 2
