"""The staging area: rows of open attempts beside the tables, where no reader looks."""

from typing import Any

from pyspark.sql import SparkSession

from intentrec.storage.runs import Run, ledger

AREA = "_staging"


def folder(run: Run, name: str) -> str:
    """Folder of an attempt's rows; `name` tells its frames apart."""
    return f"{run.warehouse}/{AREA}/{run.run_id}-{name}"


def delete(spark: SparkSession, path: str) -> None:
    """Delete a folder through Hadoop, so that it works on any warehouse URI."""
    found, files = _open(spark, path)
    files.delete(found, True)


def clear(spark: SparkSession, run: Run) -> None:
    """Delete what attempts left that are over, because a killed one deletes nothing.

    An attempt that may still live keeps its folders. So does one that the ledger does not know.
    """
    area, files = _open(spark, f"{run.warehouse}/{AREA}")
    left = [status.getPath().getName() for status in files.listStatus(area)] if files.exists(area) else []
    if not left:
        return
    over = {row["run_id"] for row in ledger(run.profile, run.domain) if row["status"] != "running"}
    cleared = [name for name in left if name.partition("-")[0] in over]
    for name in cleared:
        delete(spark, f"{run.warehouse}/{AREA}/{name}")
    if cleared:
        run.say(f"cleared {', '.join(sorted(cleared))}, which attempts left in {AREA} that are over")


def _open(spark: SparkSession, path: str) -> tuple[Any, Any]:
    """The path, and the file system that it is on, as objects of the JVM."""
    jvm = spark.sparkContext._jvm
    assert jvm is not None
    found = jvm.org.apache.hadoop.fs.Path(path)
    return found, found.getFileSystem(spark.sparkContext._jsc.hadoopConfiguration())
