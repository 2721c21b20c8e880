"""The only module that starts Spark: session settings, the two Delta jars, and the archive of classes.

`python -m intentrec.storage.spark` sets an environment up, once. It fetches the Delta jars through Spark's own Ivy, so
that later sessions need no network. Then it writes an archive of the classes that Spark loads. Later JVMs map it into
memory and need not read, check and link the classes again, which takes a large part of a short job: on two cores a
session that writes and reads a small Delta table takes 12.5 CPU seconds with the archive and 19 without. Java 17 needs
this step; Java 19 can make such an archive by itself (`-XX:+AutoCreateSharedArchive`).
"""

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from intentrec.config import Profile, load_profile
from intentrec.errors import PipelineError
from intentrec.storage.java import require_java

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DELTA = "io.delta:delta-spark_4.1_2.13:4.3.1"
JARS = {  # name -> SHA-256
    "delta-spark_4.1_2.13-4.3.1.jar": "ebf35a4383f0a653c3ee3c7882c0edcac2f846be31ac61af4b96ccfaaf36c171",
    "delta-storage-4.3.1.jar": "577c12c7e371be4c041714fb48e88ad86e3c3512beea2bdaffbe7a4debf79718",
}
JAR_DIR = Path(sys.prefix) / "share" / "intentrec" / "jars"
CLASS_ARCHIVE = JAR_DIR.parent / "spark.jsa"  # a JVM that it does not fit, such as a newer Java, ignores it
JAVA_OPTIONS = "spark.driver.extraJavaOptions"
LOG_SETTINGS = Path(__file__).with_name("log4j2.properties")
FETCH = "fetch"  # argument of this module: only fetch the jars

_BASE = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",  # it overwrites the lines that the jobs print
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.databricks.delta.snapshotPartitions": "2",
    # Elements of arrays and maps are declared not null for readers. Delta keeps that but does not enforce it.
    "spark.databricks.delta.constraints.allowUnenforcedNotNull.enabled": "true",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    # Otherwise each column that a job makes tells the JVM its line of Python: ten calls, for error messages only.
    "spark.python.sql.dataFrameDebugging.enabled": "false",
}
# Classes by which pyspark makes columns. py4j would ask the JVM for them each time, and it searches all its jars.
_CLASSES = ("functions", "org.apache.spark.sql.functions", "PythonUtils")
# A local driver is not reachable from the network, and what it writes is for this account only.
_LOCAL = {
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.hadoop.fs.permissions.umask-mode": "077",
}


def delta_jars() -> list[Path]:
    """Paths of the two Delta jars.

    Raises:
        PipelineError: they have not been fetched yet.
    """
    missing = _missing_jars()
    if missing:
        raise PipelineError(f"{', '.join(missing)} not in {JAR_DIR}: run `make setup` once (needs the network)")
    return [JAR_DIR / name for name in JARS]


def _missing_jars() -> list[str]:
    return [name for name in JARS if not (JAR_DIR / name).exists()]


def start(profile: Profile, app: str) -> "SparkSession":
    """The Spark session of this process, made from the profile on first use.

    Args:
        profile: the master and extra settings.
        app: name of the Spark application.

    Raises:
        PipelineError: the Delta jars have not been fetched yet, or there is no Java that fits.
    """
    if not _has_jvm():
        require_java()
    # pyspark reads the interpreter from the environment only; the configuration key is ignored under plain python.
    os.environ["PYSPARK_PYTHON"] = os.environ.get("PYSPARK_PYTHON", sys.executable)
    from pyspark.logger import PySparkLogger
    from pyspark.sql import SparkSession

    # It would print the whole plan before each message about a faulty condition, which names the place by itself.
    PySparkLogger.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL + 1)
    builder = SparkSession.builder.appName(app).master(profile.spark.master)
    local = _LOCAL if profile.spark.master.startswith("local") else {}
    scratch = Path(profile.work).absolute() / "spark"
    scratch.mkdir(parents=True, exist_ok=True)
    own = {"spark.local.dir": str(scratch), "spark.jars": ",".join(map(str, delta_jars()))}
    settings = {**_BASE, **local, **own, **profile.spark.conf}
    options = f'"-Djava.io.tmpdir={scratch}" "-Dlog4j2.configurationFile={LOG_SETTINGS.as_uri()}"'
    options += f" {settings.get(JAVA_OPTIONS, '')}"
    if CLASS_ARCHIVE.exists():
        options = f"-XX:SharedArchiveFile={CLASS_ARCHIVE} -Xlog:cds=off {options}"
    settings[JAVA_OPTIONS] = options
    for key, value in settings.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("FATAL")
    for name in _CLASSES:
        setattr(session._jvm, name, getattr(session._jvm, name))
    return session


def _has_jvm() -> bool:
    """Whether a JVM has been started: by this process, or by spark-submit, which started this process."""
    from pyspark import SparkContext

    return SparkContext._gateway is not None or "PYSPARK_GATEWAY_PORT" in os.environ


def fetch_jars() -> None:
    """Download the Delta jars through Ivy (Maven Central) and keep the two that are needed.

    Raises:
        PipelineError: a file is not the one that is expected; none is kept.
    """
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    with tempfile.TemporaryDirectory() as ivy:
        builder = SparkSession.builder.master("local[1]").config("spark.jars.packages", DELTA)
        builder = builder.config("spark.jars.ivy", ivy).config("spark.ui.enabled", "false")
        for key, value in _LOCAL.items():
            builder = builder.config(key, value)
        builder.getOrCreate().stop()
        fetched = {name: Path(ivy) / "jars" / f"io.delta_{name}" for name in JARS}
        for name, path in fetched.items():
            require_hash(path, JARS[name])
        JAR_DIR.mkdir(parents=True, exist_ok=True)
        for name, path in fetched.items():
            shutil.copy(path, JAR_DIR / name)


def require_hash(path: Path, sha256: str) -> None:
    """Check a file against its SHA-256, in hexadecimal digits.

    Raises:
        PipelineError: it has another one.
    """
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise PipelineError(
            f"{path} has the SHA-256 {found}, expected is {sha256}: this is not the published file. Remove it and run "
            "`make setup` again, through a network that you trust"
        )


def archive_classes() -> None:
    """Do in one session each kind of work that jobs do, and write the classes that it loaded to CLASS_ARCHIVE.

    Raises:
        RuntimeError: the JVM wrote no archive. Jobs work without it, but start more slowly.
    """
    profile = load_profile()
    options = f"{profile.spark.conf.get(JAVA_OPTIONS, '')} -XX:ArchiveClassesAtExit={CLASS_ARCHIVE} -Xlog:cds=off"
    settings = profile.spark.model_copy(update={"conf": {**profile.spark.conf, JAVA_OPTIONS: options}})
    with tempfile.TemporaryDirectory() as folder:
        spark = start(profile.model_copy(update={"spark": settings, "work": folder}), "archive_classes")
        _exercise(spark, folder)
        gateway = spark.sparkContext._gateway
        assert gateway is not None
        spark.stop()
        gateway.shutdown()
        gateway.proc.stdin.close()  # the JVM ends with its standard input, and writes the archive as it ends
        failed = gateway.proc.wait()
    if failed or not CLASS_ARCHIVE.exists():
        raise RuntimeError(
            f"the JVM wrote no class archive to {CLASS_ARCHIVE}; jobs work without it, but start more slowly"
        )


def _exercise(spark: "SparkSession", folder: str) -> None:
    """A small example of each kind of work: JSON, Delta by interval, windows, joins, maps and arrays, Arrow."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    days = spark.range(1000).select("id", (F.col("id") % 7).alias("k"), F.lit("2026-01-01").cast("date").alias("day"))
    for _ in range(2):
        writer = days.write.format("delta").mode("overwrite").partitionBy("day")
        writer.option("replaceWhere", "day >= DATE'2026-01-01' AND day < DATE'2026-01-08'").save(f"{folder}/delta")
    table = spark.read.format("delta").load(f"{folder}/delta")
    grouped = table.groupBy("k").agg(F.count("*").alias("n"), F.array_sort(F.collect_list("id")).alias("ids"))
    grouped.write.json(f"{folder}/json")
    parsed = spark.read.json(f"{folder}/json")
    parsed.withColumn("text", F.to_json(F.struct("k", "ids"))).write.parquet(f"{folder}/parquet")
    latest = F.row_number().over(Window.partitionBy("k").orderBy(F.desc("id")))
    ranked = table.withColumn("rank", latest).join(spark.read.parquet(f"{folder}/parquet"), "k", "left")
    ranked.agg(F.sum(F.xxhash64("text").cast("decimal(38,0)")), F.max("rank")).toArrow()


def set_up() -> None:
    """Fetch the jars and archive the classes, unless that was done before."""
    require_java()
    # In a separate process: a JVM keeps the settings of its first session, and fetching needs other settings.
    fetch = [sys.executable, "-m", "intentrec.storage.spark", FETCH]
    if _missing_jars() and subprocess.run(fetch, check=False).returncode:
        raise PipelineError("the Delta jars were not fetched; the reason is above")
    for path in delta_jars():
        require_hash(path, JARS[path.name])
    print(f"Delta jars: {JAR_DIR}")
    if not CLASS_ARCHIVE.exists():
        archive_classes()
    print(f"class archive: {CLASS_ARCHIVE}")


if __name__ == "__main__":
    try:
        fetch_jars() if FETCH in sys.argv[1:] else set_up()
    except PipelineError as error:
        sys.exit(f"FAILED: {error}")
