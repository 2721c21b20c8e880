"""Study files, and how the systems of a study differ."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from intentrec.config import ROOT, ConfigError, load_domain
from intentrec.errors import PipelineError
from intentrec.training.settings import PARTS, settings
from lab.studies.study import FOLDER, OWN_TITLES, domain_of, load_study, systems
from tests.lab.made_up import TUNED, study_of
from tests.registry import world


def test_systems_differ_in_their_own_settings_only() -> None:
    study = study_of()
    known, shipped = systems(study), study.base().model
    domains = {name: domain_of(study, system, TUNED, 5) for name, system in known.items()}
    plain = {"gru", "sasrec", "transact"}
    without = {"v4undated": {"dated_facts"}, "v4stateless": {"title_state"}, "v4unbiased": set(OWN_TITLES)}
    for name, domain in domains.items():
        assert (domain.training.learning_rate, domain.model.dropout, domain.training.seed) == (0.01, 0.1, 5)
        off = set(PARTS) if name in plain else without.get(name, set())
        assert all(getattr(domain.model, part) == (part not in off and getattr(shipped, part)) for part in PARTS)
        assert domain.model.model_dump(exclude={"variant", *PARTS}) == domains["v0"].model.model_dump(
            exclude={"variant", *PARTS}
        )
        assert domain.training.permute_intents == (name == "v4permuted")
        assert known[name].search == ("v4" if name.startswith("v4") else name)
    assert all(getattr(shipped, part) for part in OWN_TITLES), "a control without them differs"


def test_a_study_may_have_longer_sequences_and_fewer_systems() -> None:
    study, longer = study_of(), study_of(length=40, systems=["transact", "v3"])
    assert longer.base().sequences == study.base().sequences.model_copy(update={"length": 40})
    assert longer.base().sequences != study.base().sequences
    assert list(systems(longer)) == ["transact", "v3"]
    short, long = (settings(domain_of(each, systems(each)["v3"], TUNED, 1)) for each in (study, longer))
    assert short != long
    with pytest.raises(PipelineError, match="systems: v9: no such system; there are gru"):
        systems(study_of(systems=["v3", "v9"]))
    with pytest.raises(PipelineError, match="systems: v4permuted has the settings that v4 found: name both"):
        systems(study_of(systems=["v4permuted"]))


def test_the_history_of_a_study_begins_with_its_data() -> None:
    """Of Online Retail's second year alone, the first weeks look new."""
    study = study_of(domain="online_retail", start=date(2010, 11, 29), end=date(2011, 12, 12))
    shipped = load_domain(ROOT / "conf" / "online_retail.yaml").calendar
    assert study.base().calendar == shipped.model_copy(update={"history_start": date(2010, 11, 29)})
    assert shipped.history_start == date(2009, 11, 30)


def test_studies_of_the_repository_are_valid() -> None:
    names = sorted(path.stem for path in FOLDER.glob("*.yaml"))
    assert "kuairand" in names
    for name in names:
        assert systems(load_study(name))


def test_invalid_studies_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"nothing\.yaml: no such study; there are .*kuairand"):
        load_study("nothing")
    (tmp_path / "bad.yaml").write_text("title: x\n")
    with pytest.raises(PipelineError, match=r"bad\.yaml: domain: Field required"):
        load_study("bad", tmp_path)
    with pytest.raises(ValueError, match="whole weeks"):
        study_of(end=world.END + timedelta(days=1))


def test_controls_are_not_for_the_weekly_run(tmp_path: Path) -> None:
    text = (FOLDER.parent / "streaming.yaml").read_text()
    for changed, message in (
        (text.replace("variant: v4", "variant: gru"), "which the weekly run can train"),
        (text.replace("  weeks: 26", "  weeks: 26\n  permute_intents: true"), "only for studies"),
    ):
        path = tmp_path / "domain.yaml"
        path.write_text(changed)
        with pytest.raises(ConfigError, match=message):
            load_domain(path)
