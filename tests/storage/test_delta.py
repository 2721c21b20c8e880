"""Rows by partition, releases and commits from Delta logs, on small tables written by delta-rs."""

import json
from datetime import UTC, date, datetime

import pyarrow as pa
from deltalake import CommitProperties, write_deltalake

from intentrec.config import Domain, Profile
from intentrec.local import terminal
from intentrec.storage import delta


def put(profile: Profile, domain: Domain, table: str, rows: list[dict], partition: str | None, about: str) -> None:
    write_deltalake(
        f"{profile.warehouse}/{domain.domain}/{table}",
        pa.Table.from_pylist(rows),
        mode="append",
        partition_by=[partition] if partition else None,
        commit_properties=CommitProperties(custom_metadata={"userMetadata": about}),
    )


def test_an_empty_warehouse_holds_nothing(profile: Profile, streaming: Domain) -> None:
    assert set(delta.rows_by_partition(profile, streaming)) >= {"interactions", "sequences", "title_state"}
    assert not any(delta.rows_by_partition(profile, streaming).values())
    assert delta.releases(profile, streaming) == []
    assert delta.commits(profile, streaming) == []


def test_rows_are_counted_by_partition_over_all_files(profile: Profile, streaming: Domain) -> None:
    first, second = date(2026, 8, 10), date(2026, 8, 17)
    put(profile, streaming, "sequences", [{"as_of": first, "n": 1}, {"as_of": second, "n": 2}], "as_of", "{}")
    put(profile, streaming, "sequences", [{"as_of": second, "n": 3}], "as_of", "{}")
    assert delta.rows_by_partition(profile, streaming)["sequences"] == {first: 1, second: 2}


def test_commits_lead_to_their_run(profile: Profile, streaming: Domain) -> None:
    row = {"as_of": date(2026, 8, 10), "n": 1}
    put(profile, streaming, "sequences", [row], "as_of", json.dumps({"run_id": "r1", "job": "build_sequences"}))
    put(profile, streaming, "sequences", [row], "as_of", "by hand")
    found = sorted(delta.commits(profile, streaming), key=lambda commit: commit["version"])
    assert found == [
        {"table": "sequences", "version": 0, "run_id": "r1"},
        {"table": "sequences", "version": 1, "run_id": None},
    ]


def test_releases_come_oldest_first(profile: Profile, streaming: Domain) -> None:
    rows = [{"release_id": name, "as_of": date(2026, 8, day)} for name, day in (("b", 17), ("a", 10))]
    put(profile, streaming, "releases", rows, None, "{}")
    assert [row["release_id"] for row in delta.releases(profile, streaming)] == ["a", "b"]


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
