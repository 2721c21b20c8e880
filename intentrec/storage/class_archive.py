"""Keep the classes that Spark loads in an archive that later JVMs map into memory.

Every task of the weekly run starts a JVM, and most of a short job is the JVM reading, checking and linking the same
fifteen thousand classes again. An archive of one session (Java's application class-data sharing) spares a job about
three seconds. A JVM that the archive does not fit, such as a newer Java, goes on without it.
"""

import tempfile

from pyspark.sql import SparkSession, Window
from pyspark.sql import functions as F

from intentrec.config import load_profile
from intentrec.storage.spark import CLASS_ARCHIVE, JAVA_OPTIONS, start


def record() -> None:
    """Run one session over what jobs do, and leave its classes in the archive."""
    profile = load_profile()
    options = f"{profile.spark.conf.get(JAVA_OPTIONS, '')} -XX:ArchiveClassesAtExit={CLASS_ARCHIVE} -Xlog:cds=off"
    settings = profile.spark.model_copy(update={"conf": {**profile.spark.conf, JAVA_OPTIONS: options}})
    spark = start(profile.model_copy(update={"spark": settings}), "class_archive")
    with tempfile.TemporaryDirectory() as folder:
        exercise(spark, folder)
    gateway = spark.sparkContext._gateway
    assert gateway is not None
    spark.stop()
    gateway.shutdown()
    gateway.proc.stdin.close()  # the JVM ends with its standard input, and writes the archive as it ends
    if gateway.proc.wait() or not CLASS_ARCHIVE.exists():
        raise SystemExit(f"the JVM left no class archive at {CLASS_ARCHIVE}; jobs run without one, more slowly")


def exercise(spark: SparkSession, folder: str) -> None:
    """The kinds of work that jobs are made of: JSON, Delta by interval, windows, joins, maps and arrays, Arrow."""
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


if __name__ == "__main__":
    if not CLASS_ARCHIVE.exists():
        record()
    print(f"class archive: {CLASS_ARCHIVE}")
