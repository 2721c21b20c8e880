"""The only module that starts Spark: session settings, the two Delta jars, and the archive of classes.

`python -m intentrec.storage.spark` sets an environment up, once. It fetches the Delta jars through Spark's own Ivy, so
that later sessions need no network. Then it writes an archive of the classes that Spark loads. Later JVMs map it into
memory and need not read, check and link the classes again, which takes a large part of a short job: on two cores a
session that writes and reads a small Delta table takes 12.5 CPU seconds with the archive and 19 without. Java 17 needs
this step; Java 19 can make such an archive by itself (`-XX:+AutoCreateSharedArchive`).
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from intentrec.config import Profile, load_profile

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DELTA = "io.delta:delta-spark_4.1_2.13:4.3.1"
JARS = ("delta-spark_4.1_2.13-4.3.1.jar", "delta-storage-4.3.1.jar")
JAR_DIR = Path(sys.prefix) / "share" / "intentrec" / "jars"
CLASS_ARCHIVE = JAR_DIR.parent / "spark.jsa"  # a JVM that it does not fit, such as a newer Java, ignores it
JAVA_OPTIONS = "spark.driver.extraJavaOptions"

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
}
# A local driver is not reachable from the network.
_LOCAL = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}


def delta_jars() -> list[Path]:
    """Paths of the two Delta jars.

    Raises:
        FileNotFoundError: they have not been fetched yet.
    """
    paths = [JAR_DIR / name for name in JARS]
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        raise FileNotFoundError(f"{', '.join(missing)} not in {JAR_DIR}: run `make setup` once (needs the network)")
    return paths


def start(profile: Profile, app: str) -> "SparkSession":
    """The Spark session of this process, made from the profile on first use.

    Args:
        profile: the master and extra settings.
        app: name of the Spark application.

    Raises:
        FileNotFoundError: the Delta jars have not been fetched yet.
    """
    # pyspark reads the interpreter from the environment only; the configuration key is ignored under plain python.
    os.environ["PYSPARK_PYTHON"] = os.environ.get("PYSPARK_PYTHON", sys.executable)
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName(app).master(profile.spark.master)
    local = _LOCAL if profile.spark.master.startswith("local") else {}
    settings = {**_BASE, **local, "spark.jars": ",".join(map(str, delta_jars())), **profile.spark.conf}
    if CLASS_ARCHIVE.exists():
        settings[JAVA_OPTIONS] = f"-XX:SharedArchiveFile={CLASS_ARCHIVE} -Xlog:cds=off {settings.get(JAVA_OPTIONS, '')}"
    for key, value in settings.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("FATAL")
    return session


def fetch_jars() -> None:
    """Download the Delta jars through Ivy (Maven Central) and keep the two that are needed."""
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    with tempfile.TemporaryDirectory() as ivy:
        builder = SparkSession.builder.master("local[1]").config("spark.jars.packages", DELTA)
        builder = builder.config("spark.jars.ivy", ivy).config("spark.ui.enabled", "false")
        for key, value in _LOCAL.items():
            builder = builder.config(key, value)
        builder.getOrCreate().stop()
        JAR_DIR.mkdir(parents=True, exist_ok=True)
        for name in JARS:
            shutil.copy(Path(ivy) / "jars" / f"io.delta_{name}", JAR_DIR / name)


def archive_classes() -> None:
    """Do in one session each kind of work that jobs do, and write the classes that it loaded to CLASS_ARCHIVE.

    Raises:
        RuntimeError: the JVM wrote no archive. Jobs work without it, but start more slowly.
    """
    profile = load_profile()
    options = f"{profile.spark.conf.get(JAVA_OPTIONS, '')} -XX:ArchiveClassesAtExit={CLASS_ARCHIVE} -Xlog:cds=off"
    settings = profile.spark.model_copy(update={"conf": {**profile.spark.conf, JAVA_OPTIONS: options}})
    spark = start(profile.model_copy(update={"spark": settings}), "archive_classes")
    with tempfile.TemporaryDirectory() as folder:
        _exercise(spark, folder)
    gateway = spark.sparkContext._gateway
    assert gateway is not None
    spark.stop()
    gateway.shutdown()
    gateway.proc.stdin.close()  # the JVM ends with its standard input, and writes the archive as it ends
    if gateway.proc.wait() or not CLASS_ARCHIVE.exists():
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
    try:
        delta_jars()
    except FileNotFoundError:
        # In a separate process: a JVM keeps the settings of its first session, and fetching needs other settings.
        code = "from intentrec.storage.spark import fetch_jars; fetch_jars()"
        subprocess.run([sys.executable, "-c", code], check=True)
    print(f"Delta jars: {JAR_DIR}")
    if not CLASS_ARCHIVE.exists():
        archive_classes()
    print(f"class archive: {CLASS_ARCHIVE}")


if __name__ == "__main__":
    set_up()
