"""The one place that starts Spark: session settings and the two Delta jars.

`python -m intentrec.storage.spark` fetches the jars once through Spark's own Ivy into the environment; every later
session reads them from there and needs no network.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from intentrec.config import Profile

DELTA = "io.delta:delta-spark_4.1_2.13:4.3.1"
JARS = ("delta-spark_4.1_2.13-4.3.1.jar", "delta-storage-4.3.1.jar")
JAR_DIR = Path(sys.prefix) / "share" / "intentrec" / "jars"
CLASS_ARCHIVE = JAR_DIR.parent / "spark.jsa"  # see intentrec.storage.class_archive
JAVA_OPTIONS = "spark.driver.extraJavaOptions"

_BASE = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",  # it overwrites the lines that the jobs print
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.databricks.delta.snapshotPartitions": "2",
    # Elements of arrays and maps are declared not null for readers; Delta keeps that without enforcing it, audits do.
    "spark.databricks.delta.constraints.allowUnenforcedNotNull.enabled": "true",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
}
# Whoever is on this machine's network has no business with a driver that only works here.
_LOCAL = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}


def delta_jars() -> list[Path]:
    """Paths of the two Delta jars.

    Raises:
        FileNotFoundError: they were not fetched yet.
    """
    paths = [JAR_DIR / name for name in JARS]
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        raise FileNotFoundError(f"{', '.join(missing)} not in {JAR_DIR}: run `make setup` once (needs the network)")
    return paths


def start(profile: "Profile", app: str) -> "SparkSession":
    """The Spark session of this process, made from the profile on first use."""
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


if __name__ == "__main__":
    try:
        delta_jars()
    except FileNotFoundError:
        fetch_jars()
    print(f"Delta jars: {JAR_DIR}")
