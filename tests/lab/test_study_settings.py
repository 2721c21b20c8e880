"""Study files, and how the systems of a study differ."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from intentrec.config import ROOT, ConfigError, load_domain
from intentrec.errors import PipelineError
from intentrec.training.settings import settings
from lab.studies.study import FOLDER, PARTS, domain_of, load_study, systems
from tests.lab.made_up import TUNED, study_of
from tests.registry import world


def test_systems_differ_in_their_own_settings_only() -> None:
    study = study_of()
    known = systems(study)
    domains = {name: domain_of(study, system, TUNED, 5) for name, system in known.items()}
    for name, domain in domains.items():
        assert (domain.training.learning_rate, domain.model.dropout, domain.training.seed) == (0.01, 0.1, 5)
        assert domain.model.history_path == name.startswith("shipped")
        assert domain.model.compatibility == name.startswith(("v3compatible", "shipped"))
        same = {"variant", "layers", "intents", "intent_weight", *PARTS}
        assert domain.model.model_dump(exclude=same) == domains["v0"].model.model_dump(exclude=same)
        assert domain.training.permute_intents == (name == "v3permuted")
        assert domain.training.refit == (name == "shippedrefit")
    assert domains["v0deep"].model.layers > domains["v0"].model.layers == domains["v3"].model.layers
    assert {name for name in known if name.startswith("v3only_")} == {f"v3only_{i.name}" for i in study.base().intents}


def test_a_study_may_have_longer_sequences_and_fewer_systems() -> None:
    study, longer = study_of(), study_of(length=40, systems=["transact", "v3"])
    assert longer.base().sequences == study.base().sequences.model_copy(update={"length": 40})
    assert longer.base().sequences != study.base().sequences
    assert list(systems(longer)) == ["transact", "v3"]
    labels = [systems(study_of(length=length))["shipped"].label for length in (None, study.base().sequences.length, 40)]
    assert labels[0] == labels[1] == labels[2].replace(", but n = 40", "") != labels[2]
    short, long = (settings(domain_of(each, systems(each)["v3"], TUNED, 1)) for each in (study, longer))
    assert short != long
    with pytest.raises(PipelineError, match="systems: v9: no such system; there are lstm"):
        systems(study_of(systems=["v3", "v9"]))
    with pytest.raises(PipelineError, match="systems: shippedrefit has the settings that shipped found: name both"):
        systems(study_of(systems=["shippedrefit"]))


def test_the_history_of_a_study_begins_with_its_data() -> None:
    """The study of Online Retail has the second of the two years, whose first weeks look new."""
    study = load_study("online_retail")
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
        (text.replace("variant: v4", "variant: v0s"), "which the weekly run can train"),
        (text.replace("  weeks: 26", "  weeks: 26\n  permute_intents: true"), "only for studies"),
    ):
        path = tmp_path / "domain.yaml"
        path.write_text(changed)
        with pytest.raises(ConfigError, match=message):
            load_domain(path)
