"""The real DAG over a tiny simulated world: a weekly run after a history, and a run whose first task fails.

The weekly run's jobs that do not use Spark are processes of their own, as in production. All others are done in this
process; `tests/test_wheel.py` and the fault injection start them in processes of their own.
"""

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
import yaml
from deltalake import DeltaTable
from mlflow.artifacts import download_artifacts
from pyspark.sql import SparkSession

from intentrec import cli
from intentrec.config import ROOT, load_domain, load_profile
from intentrec.contracts import TABLES
from intentrec.errors import PipelineError
from intentrec.local import dags_test, demo
from intentrec.local.home import Home
from intentrec.local.progress import Progress
from intentrec.local.terminal import console
from intentrec.registry.versions import Registry
from intentrec.storage import delta
from intentrec.storage.delta import Snapshot
from intentrec.storage.runs import ledger
from intentrec.storage.warehouse import Fingerprint
from tests.conftest import profile_under, without_audits
from tests.local import in_process

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

WEEK = timedelta(days=7)
FIRST = date(2026, 8, 3)
HISTORY_END = FIRST + 3 * WEEK
END = HISTORY_END + WEEK
DAG = "intentrec_weekly_streaming"
HISTORY = ["ingest", "build_interactions", "build_sequences"]
JOBS = [*HISTORY, "train", "gate", "publish", "report"]
APART = ["train", "gate", "report"]  # processes of their own


def tiny(folder: Path) -> Path:
    """The streaming domain with a model that trains in seconds and a gate without naive baselines to beat."""
    domain = yaml.safe_load((ROOT / "conf" / "streaming.yaml").read_text())
    domain["calendar"]["censored_weeks"] = 1
    domain["sequences"]["length"] = 20
    domain["model"] |= {"dim": 16, "dim_intent": 8, "layers": 1}
    domain["training"] |= {"epochs": 2, "tokens": 1280}
    domain["gate"] |= {"naive_baselines": [], "bootstrap": 50}
    domain["publishing"] |= {"top_k": 5, "clusters": 2}
    path = folder / "conf" / "streaming.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(domain, sort_keys=False))
    return path


@dataclass
class World:
    """A home with data in its landing zone."""

    home: Home
    config: Path

    def run(self, end: date, /, **conf: object) -> None:
        dags_test.run(self.home, DAG, [(end, {"config": str(self.config), **conf})], Progress())

    def snapshot(self, name: str, version: int | None = None) -> Snapshot:
        return Snapshot(f"{self.home.path}/warehouse/streaming", TABLES[name], version)

    def versions(self) -> dict[str, int]:
        """Every table's Delta version; a commit of any kind would raise it."""
        folders = sorted((self.home.path / "warehouse" / "streaming").iterdir())
        return {
            folder.name: DeltaTable(folder).version()
            for folder in folders
            if DeltaTable.is_deltatable(str(folder)) and folder.name != "run_ledger"
        }

    def statuses(self, start: date, end: date) -> list[tuple[str, str]]:
        rows = ledger(load_profile(), load_domain(self.config))
        return [(row["job"], row["status"]) for row in rows if (row["start"], row["end"]) == (start, end)]

    @contextmanager
    def in_this_process(self, folder: Path, apart: Collection[str] = ()) -> Iterator[None]:
        """While the block runs, its tasks' jobs are done here, by the tests' session; not those of `apart`."""
        folder.mkdir()
        chosen = folder / "profile.yaml"
        profile = load_profile().model_copy(update={"spark": profile_under(folder).spark})
        chosen.write_text(yaml.safe_dump(profile.model_dump(mode="json")))
        with in_process.serving(folder, apart) as environment, pytest.MonkeyPatch.context() as patch:
            for name, value in {**environment, "INTENTREC_PROFILE": str(chosen)}.items():
                patch.setenv(name, value)
            yield


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, spark: SparkSession, new_home: Callable[[Path], Home]
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("end_to_end")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTENTREC_HOME", str(folder / "home"))
        patch.delenv("INTENTREC_DATA", raising=False)
        patch.delenv("INTENTREC_PROFILE", raising=False)
        made = World(new_home(folder / "home"), tiny(folder))
        patch.setenv("INTENTREC_CONF", str(made.config.parent))
        command = [sys.executable, "-m", "simulator", "--config", str(made.config)]
        command += ["--start", str(FIRST), "--end", str(END), "--users", "60", "--titles", "60"]
        subprocess.run(command, check=True)
        with without_audits(), made.in_this_process(folder / "history"):
            for job in HISTORY:
                options = f"-m jobs.{job} --start {FIRST} --end {HISTORY_END} --config {made.config}"
                assert in_process.run_job(options.split()) == 0
        with made.in_this_process(folder / "weekly", APART):
            made.run(END)
        yield made


def test_every_task_of_the_weekly_run_succeeded(world: World) -> None:
    assert world.statuses(HISTORY_END, END) == [(job, "succeeded") for job in JOBS]
    rows = [row for row in ledger(load_profile(), load_domain(world.config)) if row["job"] in APART]
    assert rows
    for row in rows:
        assert re.fullmatch(rf"dag_id={DAG}/run_id=[^/]+/task_id={row['job']}/attempt=\d", row["airflow_task"])


def test_no_raw_row_is_lost(world: World) -> None:
    for row in ledger(load_profile(), load_domain(world.config)):
        counts = row["counts"]
        if row["job"] == "ingest":
            outcomes = ("accepted", "quarantined", "duplicates", "replaced", "late", "outside")
            assert counts["events.read"] == sum(counts[f"events.{outcome}"] for outcome in outcomes) > 0


def test_weeks_and_snapshots_are_where_they_belong(world: World) -> None:
    held = delta.rows_by_partition(load_profile(), load_domain(world.config))
    assert list(held["sequences"]) == [FIRST + number * WEEK for number in range(1, 5)]
    assert min(held["interactions"]) >= FIRST
    assert max(held["interactions"]) < END
    assert set(held["recommendations"]) == {END}


def test_consumers_get_from_the_release_to_its_rows(world: World) -> None:
    (release,) = delta.releases(load_profile(), load_domain(world.config))
    assert release["active"]
    assert release["as_of"] == END
    versions = dict(release["table_versions"])
    recommendations = world.snapshot("recommendations", versions["recommendations"]).rows()
    sequences = world.snapshot("sequences").rows()
    catalog = world.snapshot("catalog").rows()
    found = duckdb.sql(
        """
        select count(distinct user_id), bool_and(release_id = $release),
               bool_and(title_id in (select title_id from catalog)),
               (select count(distinct user_id) from sequences),  -- of the four weeks, all of them active weeks
               (select count(*) from sequences where as_of = $as_of)
        from recommendations
        """,
        params={"release": release["release_id"], "as_of": END},
    ).fetchall()
    ((users, one_release, known, served, active),) = found
    assert one_release
    assert known
    assert users == served > active > 0
    ranks = duckdb.sql("select distinct list(rank order by rank) from recommendations group by user_id")
    assert ranks.fetchall() == [([1, 2, 3, 4, 5],)]
    assert len(recommendations) == 5 * users
    assert len(sequences)
    assert len(catalog)


def test_the_reports_are_there_and_linked(world: World, tmp_path: Path) -> None:
    page = world.home.path / "reports" / "streaming" / f"{HISTORY_END}_{END}" / "report.html"
    assert page.stat().st_size > 1000
    trend = page.parent.parent / "trend.html"
    assert f"4 weeks, the latest from {HISTORY_END}" in trend.read_text("utf-8")
    with sqlite3.connect(world.home.airflow / "airflow.db") as database:
        links = database.execute("select value from xcom where task_id = 'report' and key = '_link_ReportLink'")
        assert json.loads(links.fetchall()[-1][0]) == page.as_uri()
    (version,) = Registry(load_profile(), load_domain(world.config)).versions()
    kept = Path(download_artifacts(run_id=version.run_id, artifact_path="reports", dst_path=str(tmp_path)))
    assert sorted(path.name for path in kept.rglob("*.html")) == ["report.html", "trend.html"]


def test_a_failed_task_fails_its_run_and_changes_no_table(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The week again with a domain file that is wrong; then the demo's summary, which compares the tables."""
    before = world.versions()
    assert {"engagement_events", "interactions", "title_state", "sequences", "releases"} <= set(before)
    broken = world.config.with_name("broken.yaml")
    broken.write_text(world.config.read_text().replace("session_gap: 30m", "session_gap: soon"))
    with (
        world.in_this_process(tmp_path / "again"),
        pytest.raises(PipelineError, match=r"calendar\.session_gap.*'soon' is not a duration"),
    ):
        world.run(END, config=str(broken))
    assert world.versions() == before

    def in_this_process(command: list[str], **_: object) -> subprocess.CompletedProcess:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", command[2:])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return subprocess.CompletedProcess(command, int(ended.value.code or 0), capsys.readouterr().out, "")

    domain = load_domain(world.config)
    with monkeypatch.context() as patch:
        patch.setattr(demo.subprocess, "run", in_this_process)
        sums = demo.table_checksums(world.config, world.home)
    assert sums["interactions"].rows == world.snapshot("interactions").count()
    kept = [
        demo.store_checksums(world.home, domain, each)
        for each in (sums, sums, {**sums, "catalog": Fingerprint(0, "x")})
    ]
    assert kept == [None, [], ["catalog"]]
    began = datetime.min.replace(tzinfo=UTC)
    with console.capture() as shown:
        demo.show(world.home, load_profile(), domain, [(HISTORY_END, END)], began, sums, [])
    assert "no table changed" in shown.get()
