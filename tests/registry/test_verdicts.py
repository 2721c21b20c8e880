"""Decisions of people about versions in a real MLflow store, through the function and through tags set by hand."""

import sys
from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from intentrec.errors import PipelineError
from intentrec.registry.verdicts import BY_HAND, awaiting, record, settle
from intentrec.registry.versions import Registry, Version
from tests.registry.judged import Registering

pytestmark = pytest.mark.slow

T1, T2, T3 = (date(2026, 8, 31) + timedelta(days=7 * week) for week in range(3))
NOON = datetime(2026, 9, 22, 14, 0, tzinfo=timezone(timedelta(hours=2)))


def challenger(make: Registering, name: str, day: date) -> Version:
    """A version that awaits a review."""
    version = make(name, day)
    make.registry.request_review(version, "promote")
    return make.registry.version(version.number)


def decided(make: Registering, version: Version, verdict: str, reason: str = "looks right") -> str:
    return record(make.registry, make.registry.version(version.number), verdict, reason, "ada", NOON)


def trail(make: Registering, version: Version) -> dict[str, str]:
    tags = make.registry.tags(version)
    return {name: tags[name] for name in ("review", "review_reason", "reviewed_by", "reviewed_at", "gate")}


def test_a_reason_that_no_tag_can_keep_is_refused(make: Registering) -> None:
    version = challenger(make, "a", T1)
    with pytest.raises(PipelineError, match="the reason has 2,001 characters: give one of at most 2,000"):
        decided(make, version, "approved", "x" * 2001)
    decided(make, version, "approved", "x" * 2000)
    assert make.registry.champion().number == version.number


def test_a_request_leaves_the_alias_and_an_approval_moves_it(make: Registering) -> None:
    registry = make.registry
    first = challenger(make, "a", T1)
    assert registry.champion() is None
    assert (first.review, first.gate) == ("awaiting", None)
    assert [version.number for version in awaiting(registry)] == [first.number]
    assert decided(make, first, "approved") == f"version 1 of {registry.name} approved by ada: looks right"
    assert registry.champion().number == first.number
    assert awaiting(registry) == []
    assert trail(make, first) == {
        "review": "approved",
        "review_reason": "looks right",
        "reviewed_by": "ada",
        "reviewed_at": "2026-09-22T12:00:00+00:00",
        "gate": "promoted",
    }


def test_rejecting_leaves_the_champion(make: Registering) -> None:
    first, second = challenger(make, "a", T1), challenger(make, "b", T2)
    decided(make, first, "approved")
    decided(make, second, "rejected", "  too few new titles ")
    assert make.registry.champion().number == first.number
    assert trail(make, second)["review_reason"] == "too few new titles"
    assert (trail(make, second)["review"], trail(make, second)["gate"]) == ("rejected", "kept")
    # The last word counts.
    decided(make, second, "approved", "on second thoughts")
    assert make.registry.champion().number == second.number
    assert make.registry.champion().replaced == first.number


def test_the_same_verdict_again_keeps_the_first_trail(make: Registering) -> None:
    version = challenger(make, "a", T1)
    decided(make, version, "approved")
    before = make.registry.tags(version)
    assert "was approved before, by ada: looks right" in decided(make, version, "approved", "again")
    assert make.registry.tags(version) == before


def test_an_approval_killed_before_the_alias_moved_keeps_its_reviewer(
    make: Registering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next weekly run finds nothing that a person would have done by hand, and the retry ends what was begun."""
    first, second = challenger(make, "a", T1), challenger(make, "b", T2)
    decided(make, first, "approved")
    with monkeypatch.context() as killed:
        killed.setattr(Registry, "_point", lambda self, alias, version: sys.exit())
        with pytest.raises(SystemExit):
            decided(make, second, "approved")
    assert settle(make.registry) == []
    assert make.registry.champion().number == first.number
    decided(make, second, "approved")
    assert make.registry.champion().number == second.number
    assert make.registry.champion().replaced == first.number
    assert trail(make, second)["reviewed_by"] == "ada"


def test_invalid_verdicts_are_refused(make: Registering) -> None:
    first, second = challenger(make, "a", T1), challenger(make, "b", T2)
    with pytest.raises(PipelineError, match="without a reason"):
        decided(make, first, "approved", " \n")
    with pytest.raises(PipelineError, match="'perhaps' is no verdict"):
        decided(make, first, "perhaps")
    decided(make, second, "approved")
    with pytest.raises(PipelineError, match=r"trained for 2026-08-31, the champion \(version 2\) for 2026-09-07"):
        decided(make, first, "approved")
    with pytest.raises(PipelineError, match=r"is the champion and cannot be rejected: use `make rollback`"):
        decided(make, second, "rejected")
    assert make.registry.champion().number == second.number
    assert make.registry.version(first.number).review == "awaiting"


def test_a_tag_set_by_hand_is_honoured_once(make: Registering) -> None:
    registry = make.registry
    first, second = challenger(make, "a", T1), challenger(make, "b", T2)
    assert settle(registry) == []
    registry.client.set_model_version_tag(registry.name, first.number, "review", "approved")
    registry.client.set_model_version_tag(registry.name, first.number, "review_reason", "fine")
    registry.client.set_model_version_tag(registry.name, first.number, "reviewed_by", "grace")
    registry.client.set_model_version_tag(registry.name, second.number, "review", "rejected")
    assert len(settle(registry)) == 2
    assert registry.champion().number == first.number
    assert (trail(make, first)["review_reason"], trail(make, first)["reviewed_by"]) == ("fine", "grace")
    assert (trail(make, second)["gate"], trail(make, second)["reviewed_by"]) == ("kept", BY_HAND)
    assert trail(make, second)["review_reason"] == "no reason given"
    assert settle(registry) == []
    # Another mind by hand: who decided before did not decide this.
    registry.client.set_model_version_tag(registry.name, second.number, "review", "approved")
    settle(registry)
    assert registry.champion().number == second.number
    assert trail(make, second)["reviewed_by"] == BY_HAND


def test_an_alias_moved_by_hand_is_an_approval(make: Registering) -> None:
    registry = make.registry
    first, second = challenger(make, "a", T1), challenger(make, "b", T2)
    decided(make, first, "approved")
    registry.client.set_registered_model_alias(registry.name, "champion", second.number)
    (said,) = settle(registry)
    assert "version 2" in said
    assert registry.champion().number == second.number
    assert registry.champion().replaced == first.number
    assert (trail(make, second)["review"], trail(make, second)["gate"]) == ("approved", "promoted")
    assert datetime.fromisoformat(trail(make, second)["reviewed_at"]) <= datetime.now(UTC)
    assert settle(registry) == []


def test_a_refused_decision_by_hand_is_reported_and_left(make: Registering) -> None:
    registry = make.registry
    first, second = challenger(make, "a", T1), challenger(make, "b", T2)
    decided(make, second, "approved")
    registry.client.set_model_version_tag(registry.name, first.number, "review", "approved")
    registry.client.set_model_version_tag(registry.name, second.number, "review", "rejected")
    said = settle(registry)
    assert [line.startswith("not honoured: version") for line in said] == [True, True]
    assert registry.champion().number == second.number


def test_a_version_that_was_rolled_back_is_not_promoted_again(make: Registering) -> None:
    registry = make.registry
    first, second = challenger(make, "a", T1), challenger(make, "b", T2)
    decided(make, first, "approved")
    decided(make, second, "approved")
    registry.restore(first, second)
    assert settle(registry) == []
    assert registry.champion().number == first.number
    decided(make, second, "approved", "mended")
    assert registry.champion().number == second.number
