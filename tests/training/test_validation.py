"""What validation may not know, and what a diverged model may not look like."""

from datetime import timedelta
from pathlib import Path

import pytest
import torch

from intentrec.config import Domain
from intentrec.errors import PipelineError
from intentrec.model.ranking import ranks
from intentrec.training import loop
from intentrec.training.data import validation_start
from intentrec.training.prepare import load, prepare
from tests.model import world
from tests.registry.world import domain_of

CUTOFF = world.START.date() + timedelta(weeks=3)


def test_vocabulary_learns_nothing_from_validation(streaming: Domain, tmp_path: Path) -> None:
    """Tokens and statistics are those of the interactions before validation begins; later titles have no id vector."""
    domain = domain_of(streaming)
    begin = validation_start(domain, CUTOFF)
    assert begin.isoformat() == "2026-08-22T11:00:00+00:00"  # two days before, at 04:00 in Los Angeles
    rows = world.learnable_weeks(2, 12, 3).to_pylist()
    for row in rows:
        for k, moment in enumerate(row["end_ts"]):
            if moment >= begin:
                row["title_id"][k], row["action_type"][k], row["duration_s"][k] = "t999", "new_label", 1e6
    prepare(domain, world.table(rows), world.catalog(24), CUTOFF, tmp_path / "one")
    late = load(tmp_path / "one").vocabulary
    early = {t for row in rows for t, m in zip(row["title_id"], row["end_ts"], strict=True) if m < begin}
    assert late.titles[: late.n_seen] == tuple(sorted(early))
    assert "t999" in late.titles[late.n_seen :]
    assert "new_label" not in late.tokens["action_type"]
    for row in rows:
        row["duration_s"] = [2e6 if m >= begin else d for d, m in zip(row["duration_s"], row["end_ts"], strict=True)]
    prepare(domain, world.table(rows), world.catalog(24), CUTOFF, tmp_path / "two")
    assert load(tmp_path / "two").vocabulary == late


def test_a_number_that_is_none_loses() -> None:
    h_ND, item_ID = torch.eye(3), torch.eye(3)
    h_ND[1] = torch.nan
    assert ranks(h_ND, item_ID, torch.arange(3), 2).tolist() == [1.0, 3.5, 1.0]
    item_ID[2] = torch.nan
    assert ranks(h_ND, item_ID, torch.arange(3), 2).tolist() == [2.0, 3.5, 3.5]


def test_a_diverged_training_says_what_to_do(streaming: Domain, tmp_path: Path) -> None:
    domain = domain_of(streaming, training={"learning_rate": 1e30})
    with pytest.raises(PipelineError, match=r"lower training\.learning_rate"):
        loop.fit(domain, world.learnable_weeks(2, 12, 3), world.catalog(24), CUTOFF, tmp_path, lambda _: None)
    assert not (tmp_path / "model").exists()
