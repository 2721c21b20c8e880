"""The jars that Spark starts with, and where its session keeps scratch."""

import stat
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from intentrec.config import Profile
from intentrec.errors import PipelineError
from intentrec.storage import spark as spark_module


def test_the_jars_of_this_environment_are_the_published_ones() -> None:
    paths = spark_module.delta_jars()
    assert [path.name for path in paths] == list(spark_module.JARS)
    for path in paths:
        spark_module.require_hash(path, spark_module.JARS[path.name])


def test_another_file_in_place_of_a_jar_is_refused(tmp_path: Path) -> None:
    jar = tmp_path / "delta-storage-4.3.1.jar"
    jar.write_bytes(b"abc")
    # The SHA-256 of "abc" is a test vector of FIPS 180-2.
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    spark_module.require_hash(jar, known)
    with pytest.raises(PipelineError, match=rf"^{jar} has the SHA-256 {known}, expected is 0000: .*`make setup` again"):
        spark_module.require_hash(jar, "0000")


def test_jars_that_were_not_fetched_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: Profile
) -> None:
    monkeypatch.setattr(spark_module, "JAR_DIR", tmp_path)
    (tmp_path / "delta-storage-4.3.1.jar").touch()
    with pytest.raises(
        PipelineError, match=rf"^delta-spark_4\.1_2\.13-4\.3\.1\.jar not in {tmp_path}: run `make setup`"
    ):
        spark_module.start(profile, "no session")


def test_scratch_is_below_the_profiles_work_folder_and_files_are_private(spark: SparkSession, tmp_path: Path) -> None:
    scratch = Path(spark.sparkContext.getConf().get("spark.local.dir"))
    assert scratch.parts[-2:] == ("work", "spark")
    assert spark._jvm.System.getProperty("java.io.tmpdir") == str(scratch)
    assert list(scratch.glob("blockmgr-*"))
    spark.range(3).coalesce(1).write.parquet(str(tmp_path / "rows"))
    (part,) = (tmp_path / "rows").glob("*.parquet")
    assert stat.S_IMODE(part.stat().st_mode) == 0o600
