"""What a training costs, on tables as the jobs leave them."""

from datetime import timedelta
from pathlib import Path

from deltalake import write_deltalake

from intentrec.config import Domain
from intentrec.contracts import CATALOG, SEQUENCES, TITLE_FACTS
from lab.benchmarks import cost, report
from tests.model import world
from tests.registry.world import domain_of, interactions_of, title_facts_of


def test_measures_a_training(streaming: Domain, tmp_path: Path) -> None:
    rows, cutoff = world.learnable_weeks(5, 20, 3), (world.START + timedelta(weeks=3)).date()
    write_deltalake(f"{tmp_path}/{SEQUENCES.name}", rows, partition_by=["as_of"])
    write_deltalake(f"{tmp_path}/{CATALOG.name}", world.catalog(24), partition_by=["snapshot_date"])
    facts = title_facts_of(interactions_of(rows))
    write_deltalake(f"{tmp_path}/{TITLE_FACTS.name}", facts, partition_by=["as_of"])
    domain = domain_of(streaming, model={"variant": "v2", "windows": []}, training={"epochs": 1})
    found = cost.measure(domain, str(tmp_path), cutoff, tmp_path / "work")
    assert found["system"] == "v2"
    assert found["titles"] == 24
    assert found["positions"] > found["targets"] > 0
    assert found["peak_mb"] > 100
    results = {"code": {"commit": "c" * 40, "changed": False, "measured": "now"}, "machine": {"gpu": "H", "torch": "2"}}
    page = report.render({"cost": results | {"domain": "x", "simulated": True, "cutoff": str(cutoff), "runs": [found]}})
    assert "Domain x (simulated)" in page
    assert page.splitlines()[-1].startswith("| v2 | ")
