"""Which weekly DAG belongs to a domain file."""

import shutil
from pathlib import Path

import pytest

from intentrec.config import ROOT
from intentrec.errors import PipelineError
from intentrec.local.dags_test import dag_of


def test_a_file_that_no_dag_reads_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be planned with its own settings, but executed with those of the file of the same name in conf/."""
    shutil.copy(ROOT / "conf" / "streaming.yaml", tmp_path)
    with pytest.raises(PipelineError, match=r"streaming\.yaml: Airflow has a weekly DAG only for files of .*conf"):
        dag_of(tmp_path / "streaming.yaml")
    monkeypatch.chdir(ROOT)
    assert dag_of(Path("conf/streaming.yaml")) == "intentrec_weekly_streaming"
    monkeypatch.setenv("INTENTREC_CONF", str(tmp_path))
    assert dag_of(tmp_path / "streaming.yaml") == "intentrec_weekly_streaming"
    with pytest.raises(PipelineError, match=f"only for files of {tmp_path}: put it there"):
        dag_of(Path("conf/streaming.yaml"))
