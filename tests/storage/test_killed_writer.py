"""A writer that is killed at any moment, and run again."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from intentrec.config import ROOT, Domain, Profile, load_domain
from intentrec.contracts import INTERACTIONS, TITLE_STATE
from intentrec.storage.runs import Run
from intentrec.storage.spark import start
from intentrec.storage.warehouse import Warehouse
from tests.conftest import profile_under, without_audits
from tests.storage.good_rows import END, START, frame, rows

CONFIG = ROOT / "conf" / "streaming.yaml"
# What the killed process runs: two tables of one run, as build_interactions writes them.
WRITER = """
import sys
from pathlib import Path
from tests.storage import test_killed_writer as t
from tests.conftest import profile_under
t.write_both(profile_under(Path(sys.argv[1])), int(sys.argv[2]))
"""


def write_both(profile: Profile, value: int) -> Warehouse:
    """Replace the interval in two tables by many rows that carry `value`."""
    spark = start(profile, "test")
    warehouse = Warehouse(spark, Run("test", START, END, load_domain(CONFIG), profile))
    print("ready", flush=True)
    day = F.date_add(F.lit(START), (F.col("id") % 7).cast("int"))
    for table, partition in ((INTERACTIONS, day), (TITLE_STATE, F.lit(START))):
        template = frame(spark, table, rows(table.name)[:1])
        many = template.drop("user_id", str(table.partition)).crossJoin(spark.range(2000))
        name, number = ("duration_s", F.lit(float(value))) if table is INTERACTIONS else ("last_episode", F.lit(value))
        made = many.withColumns({"user_id": F.col("id").cast("string"), str(table.partition): partition, name: number})
        with without_audits():
            warehouse.replace(table, made.select(*table.names), START, END)
    print("done", flush=True)
    return warehouse


@pytest.mark.extended
def test_killed_anywhere_and_run_again(spark: SparkSession, streaming: Domain, tmp_path: Path) -> None:
    """SIGKILL at random moments: each table is all old or all new, and the rerun gives the same tables as without."""
    calm, shaken = profile_under(tmp_path / "calm"), profile_under(tmp_path / "shaken")
    write_both(shaken, 0)
    clock = time.monotonic()
    wanted = write_both(calm, 2)
    took = time.monotonic() - clock
    dice, outcomes = random.Random(7), []
    for share in sorted(dice.uniform(0.05, 1.2) for _ in range(2)):
        outcomes.append(_kill_a_writer(tmp_path / "shaken", share * took))
        warehouse = Warehouse(spark, Run("test", START, END, streaming, shaken))
        for table, name in ((INTERACTIONS, "duration_s"), (TITLE_STATE, "last_episode")):
            values = {row[0] for row in warehouse.current(table).select(name).distinct().collect()}
            assert values in ({0}, {2}), (outcomes, values)
            assert warehouse.current(table).count() == 2000
    assert "killed" in outcomes
    assert write_both(shaken, 2).checksums() == wanted.checksums()


def _kill_a_writer(home: Path, after: float) -> str:
    """Start a process that writes, and kill it `after` seconds after its session was ready."""
    command = [sys.executable, "-c", WRITER, str(home), "2"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    try:
        while process.stdout.readline().strip() != "ready":
            assert process.poll() is None
        time.sleep(after)
    finally:
        done = process.poll() is not None
        if not done:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return "finished" if done else "killed"
