"""Shared fixtures: a Spark session, profiles and homes in temporary folders, two domain files, attempts of a job."""

import fcntl
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import TYPE_CHECKING
from zlib import crc32

import pytest
from hypothesis import settings
from pyspark.sql import DataFrame, SparkSession
from sqlalchemy import Engine, event

from intentrec.config import ROOT, Delivery, Domain, Profile, Spark, load_domain
from intentrec.contracts import Table
from intentrec.storage import audit
from intentrec.storage import spark as spark_module
from intentrec.storage.audit import Audit
from intentrec.storage.runs import Run

if TYPE_CHECKING:
    from intentrec.local.home import Home
    from tests.registry.judged import Judged, Registering

# Modules that take minutes, the longest first: two processes that share all modules then end at about the same time.
LONGEST = (
    "tests/test_end_to_end.py",
    "tests/chaos/test_crash.py",
    "tests/jobs/",
    "tests/local/test_backfill.py",
    "tests/local/test_airflow.py",
    "tests/registry/",
)
# Spark's plans as they stand: for so few rows, compiling them costs more.
INTERPRETED = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}
settings.register_profile("any machine", deadline=None)  # a busy one takes longer over an example
settings.load_profile("any machine")
SHARED_DATA = ROOT.parent / "shared" / "data"


def pytest_configure() -> None:
    """Remove settings of a developer's shell, such as a cluster's profile, that could change a test."""
    for name in ("PROFILE", "CONF", "DATA", "ACCEPT_PARTIAL", "LOG", "SUBMIT", "RETRIES", "PYTHON"):
        os.environ.pop(f"INTENTREC_{name}", None)


@event.listens_for(Engine, "connect")
def _no_waiting_for_the_disk(connection: object, _: object) -> None:
    """MLflow commits often. Its databases of tests need not survive a power failure."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the modules of LONGEST first."""
    items.sort(key=lambda item: [not item.nodeid.startswith(begin) for begin in LONGEST])


def profile_under(home: Path) -> Profile:
    """A profile that keeps everything below `home`."""
    return Profile(
        name="test",
        warehouse=f"{home}/warehouse",
        landing=f"{home}/landing",
        reports=f"{home}/reports",
        work=f"{home}/work",
        mlflow=f"sqlite:///{home}/mlflow.db",
        mlflow_artifacts=f"{home}/artifacts",
        threads=1,
        spark=Spark(
            conf={
                "spark.sql.shuffle.partitions": "2",
                "spark.sql.adaptive.enabled": "false",
                **INTERPRETED,
                "spark.driver.extraJavaOptions": (
                    "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:ReservedCodeCacheSize=256m -Xmn384m"
                ),
                "spark.sql.warehouse.dir": f"{home}/spark-warehouse",
            }
        ),
    )


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """The one Spark session of the test run."""
    session = spark_module.start(profile_under(tmp_path_factory.mktemp("spark")), "tests")
    yield session
    session.stop()


@pytest.fixture
def compiling(spark: SparkSession) -> Iterator[None]:
    """Let Spark compile its plans, as in production; it is faster for a whole file of real rows."""
    for key in INTERPRETED:
        spark.conf.unset(key)
    yield
    for key, value in INTERPRETED.items():
        spark.conf.set(key, value)


@pytest.fixture(scope="session")
def interpreting(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment in which jobs in separate processes interpret their plans instead of compiling them."""
    folder = tmp_path_factory.mktemp("spark_conf")
    lines = [f"{key} {value}\n" for key, value in INTERPRETED.items()]
    (folder / "spark-defaults.conf").write_text("".join(lines), encoding="utf-8")
    return {"SPARK_CONF_DIR": str(folder)}


def _unaudited(table: Table, staged: DataFrame, run: Run) -> Audit:
    return Audit(table.name, 0, 0.0, [])


@contextmanager
def without_audits() -> Iterator[None]:
    """Skip audits: they have their own tests and take seconds each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit, "audit", _unaudited)
        yield


@pytest.fixture
def no_audits() -> Iterator[None]:
    """See `without_audits`."""
    with without_audits():
        yield


@pytest.fixture(scope="session")
def new_home(tmp_path_factory: pytest.TempPathFactory) -> "Callable[[Path], Home]":
    """Makes homes with an Airflow database: copies of one, which Airflow takes half a minute to make.

    All processes of a test run copy the same one; the first that needs it makes it.
    """
    from intentrec.local.home import Home

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # of all processes
    made = Home(folder / "airflow")
    with (folder / "airflow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made.prepare()

    def copy(path: Path) -> Home:
        # Its settings file is not copied: it holds the absolute paths of the home that it was written in.
        copytree(made.airflow, path / "airflow", ignore=ignore_patterns("airflow.cfg", "logs"))
        home = Home(path)
        home.prepare()
        return home

    return copy


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    """A profile for one test."""
    return profile_under(tmp_path)


@pytest.fixture(scope="session")
def streaming() -> Domain:
    """The streaming domain file."""
    return load_domain(ROOT / "conf" / "streaming.yaml")


def any_delivery(domain: Domain) -> Domain:
    """The domain for worlds of a few rows: every delivery is whole."""
    rule = Delivery(open_days=[], min_accepted=0, min_events=0, max_events=1e9, min_items=0, max_items=1e9)
    return domain.model_copy(update={"quality": domain.quality.model_copy(update={"delivery": rule})})


@pytest.fixture(scope="session")
def kuairand() -> Domain:
    """The KuaiRand domain file."""
    return load_domain(ROOT / "conf" / "kuairand.yaml")


@pytest.fixture
def new_run(profile: Profile, streaming: Domain) -> Callable[..., Run]:
    """Make an attempt: new_run("ingest", start, end, domain=...)."""

    def make(job: str, start: date, end: date, domain: Domain = streaming) -> Run:
        return Run(job, start, end, domain, profile)

    return make


@pytest.fixture(scope="session")
def judged(tmp_path_factory: pytest.TempPathFactory, streaming: Domain) -> "Judged":
    """A small world with a trained, registered and promoted model: the MLflow store of the test run."""
    from tests.registry.judged import prepare

    return prepare(tmp_path_factory.mktemp("judged"), streaming)


@pytest.fixture
def make(judged: "Judged", request: pytest.FixtureRequest) -> "Registering":
    """Registers versions of a domain for one test."""
    from tests.registry.judged import Registering

    plain = re.sub(r"\W", "_", request.node.name.lower())
    name = f"t{plain[:32]}_{crc32(request.node.name.encode()):08x}"  # distinct for tests that begin alike
    return Registering(judged, Domain.model_validate({**judged.domain.model_dump(mode="json"), "domain": name}))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data sets; skips where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real data not found at {SHARED_DATA}")
    return SHARED_DATA
