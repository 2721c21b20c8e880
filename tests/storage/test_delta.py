"""Delta tables without Spark: snapshots, dates, files, commits and writes, on small tables that delta-rs wrote."""

import json
import re
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import CommitProperties, write_deltalake
from pyarrow.fs import PyFileSystem

from intentrec.config import ROOT, Domain, Profile
from intentrec.contracts import FEATURE_PROFILES, RELEASES, SEQUENCES
from intentrec.errors import PipelineError
from intentrec.storage import delta, delta_folder
from intentrec.storage.delta import Commit, Snapshot, WriteConflict

FIRST, SECOND, THIRD = date(2026, 8, 10), date(2026, 8, 17), date(2026, 8, 24)


def put(profile: Profile, domain: Domain, table: str, rows: list[dict], partition: str | None, about: str) -> None:
    write_deltalake(
        f"{profile.warehouse}/{domain.domain}/{table}",
        pa.Table.from_pylist(rows),
        mode="append",
        partition_by=[partition] if partition else None,
        commit_properties=CommitProperties(custom_metadata={"userMetadata": about}),
    )


def profiles(
    warehouse: Path | str, *weeks: date, rows: int = 1, mode: Literal["append", "overwrite"] = "append"
) -> None:
    """Write a row of `feature_profiles` for each week."""
    content = [
        {"week": week, "table_name": "interactions", "feature": "kind", "kind": "value", "value": "film", "rows": rows}
        for week in weeks
    ]
    path = f"{warehouse}/{FEATURE_PROFILES.name}"
    write_deltalake(path, pa.Table.from_pylist(content), mode=mode, partition_by=["week"])


def test_a_warehouse_without_tables_has_no_rows_releases_or_commits(profile: Profile, streaming: Domain) -> None:
    assert set(delta.rows_by_partition(profile, streaming)) >= {"interactions", "sequences", "title_state"}
    assert not any(delta.rows_by_partition(profile, streaming).values())
    assert delta.releases(profile, streaming) == []
    assert delta.commits(profile, streaming) == []
    with pytest.raises(PipelineError, match=r"table sequences does not exist in .*: run the jobs before this one"):
        Snapshot(delta.warehouse_of(profile, streaming), SEQUENCES)


def test_rows_are_counted_by_partition_over_all_files(profile: Profile, streaming: Domain) -> None:
    put(profile, streaming, "sequences", [{"as_of": FIRST, "n": 1}, {"as_of": SECOND, "n": 2}], "as_of", "{}")
    put(profile, streaming, "sequences", [{"as_of": SECOND, "n": 3}], "as_of", "{}")
    assert delta.rows_by_partition(profile, streaming)["sequences"] == {FIRST: 1, SECOND: 2}


def test_commits_lead_to_their_run(profile: Profile, streaming: Domain) -> None:
    row = {"as_of": FIRST, "n": 1}
    put(profile, streaming, "sequences", [row], "as_of", json.dumps({"run_id": "r1", "job": "build_sequences"}))
    put(profile, streaming, "sequences", [row], "as_of", "by hand")
    found = delta.commits(profile, streaming)
    assert found == [Commit("sequences", 1, None), Commit("sequences", 0, "r1")]


def test_releases_come_oldest_first(profile: Profile, streaming: Domain) -> None:
    rows = [{"release_id": name, "as_of": date(2026, 8, day)} for name, day in (("b", 17), ("a", 10))]
    put(profile, streaming, "releases", rows, None, "{}")
    assert [row["release_id"] for row in delta.releases(profile, streaming)] == ["a", "b"]


@pytest.mark.parametrize(
    ("start", "end", "weeks"),
    [
        (None, None, [FIRST, SECOND, THIRD]),
        (FIRST, THIRD, [FIRST, SECOND]),
        (SECOND, None, [SECOND, THIRD]),
        (None, SECOND, [FIRST]),
        (THIRD, FIRST, []),
    ],
)
def test_partitions_are_chosen_by_half_open_intervals(
    tmp_path: Path, start: date | None, end: date | None, weeks: list[date]
) -> None:
    profiles(tmp_path, FIRST, SECOND, THIRD)
    table = Snapshot(str(tmp_path), FEATURE_PROFILES)
    assert sorted(table.rows(start, end)["week"].to_pylist()) == weeks
    assert sorted(table.dataset(start, end).to_table()["week"].to_pylist()) == weeks
    assert sorted(file.day for file in table.files(start, end) if file.day) == weeks
    assert table.count(start, end) == len(weeks)
    assert table.count(start, end, where=pc.field("rows") > 1) == 0


def test_a_snapshot_stays_and_has_the_types_of_the_contract(tmp_path: Path) -> None:
    folder = tmp_path / "with a space"
    profiles(folder, FIRST)
    old = Snapshot(str(folder), FEATURE_PROFILES)
    profiles(folder, SECOND, mode="overwrite")
    for table in (old, Snapshot(str(folder), FEATURE_PROFILES, 0), Snapshot(folder.as_uri(), FEATURE_PROFILES, 0)):
        assert table.version == 0
        assert table.rows().schema == delta.arrow_schema(FEATURE_PROFILES)
        assert table.rows(columns=["value", "week"]).to_pylist() == [{"value": "film", "week": FIRST}]
    assert Snapshot(str(folder), FEATURE_PROFILES).rows()["week"].to_pylist() == [SECOND]
    with pytest.raises(PipelineError, match="feature_profiles at version 7 cannot be read"):
        Snapshot(str(folder), FEATURE_PROFILES, 7)


def test_an_update_builds_on_its_snapshot_or_is_refused(profile: Profile, streaming: Domain) -> None:
    rows = [{"release_id": name, "as_of": FIRST, "active": name == "a"} for name in "ab"]
    put(profile, streaming, "releases", rows, None, "{}")
    warehouse = delta.warehouse_of(profile, streaming)
    first, same = Snapshot(warehouse, RELEASES), Snapshot(warehouse, RELEASES)
    assert first.update({"active": "release_id = 'b'"}, where="true", about={"run_id": "r2"}) == 1
    assert {row["release_id"]: row["active"] for row in delta.releases(profile, streaming)} == {"a": False, "b": True}
    assert Snapshot(warehouse, RELEASES).history()[0] == Commit("releases", 1, "r2", 0)
    with pytest.raises(PipelineError, match="releases was not changed, perhaps because another run"):
        same.update({"active": "true"}, where="true", about={})
    assert Snapshot(warehouse, RELEASES).version == 1


def test_a_conflicting_write_is_an_error_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(*_: object, **__: object) -> None:
        raise delta.CommitFailedError("version 3 exists")

    monkeypatch.setattr(delta, "write_deltalake", lose)
    with pytest.raises(WriteConflict, match="version 3 exists"):
        delta.append(str(tmp_path), RELEASES, pa.table({}))
    with pytest.raises(WriteConflict, match="version 3 exists"):
        delta.replace_where(str(tmp_path), RELEASES, pa.table({}), "true")


def test_rows_of_an_object_store_are_read_too(tmp_path: Path) -> None:
    """A folder in place of the store: delta-rs reads both in the same way."""
    profiles(tmp_path, FIRST, SECOND)
    local = Snapshot(str(tmp_path), FEATURE_PROFILES)
    files = PyFileSystem(delta_folder._InMemory(str(tmp_path / FEATURE_PROFILES.name)))
    found = local._delta.to_pyarrow_dataset(filesystem=files)
    assert found.to_table().sort_by("week")["week"].to_pylist() == [FIRST, SECOND]
    assert found.count_rows(filter=pc.field("week") > FIRST) == 1
    assert isinstance(delta_folder.filesystem("s3://bucket/table").handler, delta_folder._InMemory)


def test_every_read_goes_through_the_one_reader() -> None:
    """A read by delta-rs alone aborts some processes at their end, see `delta_folder.filesystem`."""
    bare = re.compile(r"\.(?:to_pyarrow_table|to_pyarrow_dataset)\((?!filesystem=)|DeltaTable\([^\n]*\.to_pandas\(")
    folders = ("intentrec", "jobs", "lab", "simulator", "dags", "tests", "docs")
    paths = [path for name in folders for end in ("py", "md") for path in (ROOT / name).rglob(f"*.{end}")]
    texts = {path: path.read_text("utf-8") for path in [ROOT / "README.md", *paths]}
    readers = {path for path, text in texts.items() if "import" in text and "DeltaTable" in text}
    assert readers
    assert [str(path) for path in readers if bare.search(texts[path])] == []


READER = """
import sys
from intentrec.contracts import FEATURE_PROFILES
from intentrec.storage import delta, delta_folder
from intentrec.storage.delta import Snapshot
if "in memory" in sys.argv:
    delta._filesystem = lambda path: delta.PyFileSystem(delta._InMemory(path))
held = Snapshot(sys.argv[1], FEATURE_PROFILES)
scanned = held.dataset().scanner().to_reader()
next(scanned)
print(held.rows().num_rows)
"""


@pytest.mark.parametrize("how", ["local", "in memory"])
def test_a_process_that_has_read_a_table_exits_cleanly(how: str, tmp_path: Path) -> None:
    """If files were opened through Python, an Arrow thread aborted some of these processes at exit."""
    profiles(tmp_path, *[date.fromordinal(FIRST.toordinal() + 7 * week) for week in range(40)])
    command = [sys.executable, "-c", READER, str(tmp_path), how]
    done = [subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False) for _ in range(2)]
    assert [(each.returncode, each.stdout) for each in done] == [(0, "40\n")] * 2, done[0].stderr
