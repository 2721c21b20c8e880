"""When the tables of a study are built anew."""

from datetime import date
from pathlib import Path

import pytest

from intentrec.errors import PipelineError
from intentrec.local.progress import Progress
from lab.studies import data as tables_of
from lab.studies.data import JOBS, tables
from lab.studies.study import Study
from tests.lab.made_up import study_of


def test_tables_are_rebuilt_if_data_settings_or_code_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = tmp_path / "given" / "u.data"
    given.parent.mkdir()
    given.write_text("1")
    monkeypatch.setenv("INTENTREC_DATA", str(given.parent))
    monkeypatch.setattr(tables_of.Data, "of", lambda run: run)
    called: list[str] = []
    monkeypatch.setattr(tables_of, "_call", lambda command: called.append(command[2].removeprefix("jobs.")))

    def built(study: Study) -> list[str]:
        called.clear()
        monkeypatch.setenv("INTENTREC_HOME", str(tmp_path))
        tables("films", study, Progress())
        return list(called)

    study = study_of(domain="movielens", start=date(1997, 9, 15), end=date(1998, 4, 6))
    assert built(study) == list(JOBS)
    assert built(study) == []
    assert built(study.model_copy(update={"seeds": [7], "epochs": 3})) == [], "tables do not depend on them"
    longer = study.model_copy(update={"length": 40})
    assert built(longer) == list(JOBS)
    given.write_text("12")
    assert built(longer) == list(JOBS)
    monkeypatch.setattr(tables_of, "code_hash", lambda *patterns: "other code")
    assert built(longer) == list(JOBS)
    assert built(longer) == []

    def fail(command: list[str]) -> None:
        raise PipelineError("no more")

    given.write_text("123")
    monkeypatch.setattr(tables_of, "_call", fail)
    with pytest.raises(PipelineError, match="no more"):
        built(longer)
    monkeypatch.setattr(tables_of, "_call", lambda command: called.append(command[2].removeprefix("jobs.")))
    given.write_text("12")
    assert built(longer) == list(JOBS), "an interrupted build counts for no data"
