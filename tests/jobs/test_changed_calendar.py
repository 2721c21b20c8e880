"""The jobs refuse to add weeks of one calendar to tables of another."""

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
import yaml

from intentrec.config import ROOT, Domain, Profile
from intentrec.errors import PipelineError
from intentrec.storage.runs import Run, attempt
from jobs import build_interactions, build_sequences, ingest

CONFIG = ROOT / "conf" / "streaming.yaml"
FIRST, SECOND = date(2026, 8, 3), date(2026, 8, 10)


@pytest.mark.parametrize(
    ("body", "start"),
    [
        (lambda run: ingest.body(run, CONFIG), SECOND),
        (lambda run: build_interactions.body(run, CONFIG), FIRST),
        (build_sequences.body, FIRST),
    ],
    ids=["ingest", "build_interactions", "build_sequences"],
)
def test_a_week_after_weeks_of_another_zone_is_refused(
    body: Callable[[Run], None], start: date, streaming: Domain, profile: Profile, tmp_path: Path
) -> None:
    chosen = tmp_path / "profile.yaml"
    chosen.write_text(yaml.safe_dump(profile.model_dump(mode="json")))
    with attempt("ingest", FIRST, SECOND, CONFIG, chosen):
        pass
    moved = streaming.calendar.model_copy(update={"zone": "Asia/Tokyo"})
    run = Run("ingest", start, start + timedelta(weeks=1), streaming.model_copy(update={"calendar": moved}), profile)
    with pytest.raises(PipelineError, match=r"calendar\.zone or calendar\.day_start was changed.*FROM=2026-08-03"):
        body(run)
    assert run.outputs == {}
