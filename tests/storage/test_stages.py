"""Progress of Spark's stages."""

import time

from pyspark.sql import SparkSession

from intentrec.storage.stages import stage_progress


def test_a_long_stage_says_how_far_it_is_and_nothing_is_said_afterwards(spark: SparkSession) -> None:
    said: list[str] = []
    numbers = spark.sparkContext.parallelize(range(6), 6)
    with stage_progress(said.append, every=0.2):
        time.sleep(0.5)
        assert said == []  # no stage runs
        numbers.foreach(lambda _: time.sleep(0.5))
    assert all(line.startswith("Spark works: stage ") and line.endswith(" of 6 tasks") for line in said)
    done = [int(line.split(": ")[2].split(" of ")[0]) for line in said]
    assert done == sorted(done)
    assert len(set(done)) > 1
    count = len(said)
    numbers.count()
    time.sleep(0.5)
    assert len(said) == count
