"""Which release is active, and when a row of `releases` changes."""

from datetime import date
from typing import Any

import pytest

from intentrec.config import Domain
from intentrec.registry.releases import Release, release_id, updated

OLD, NEW = date(2026, 8, 24), date(2026, 8, 31)


def release(name: str, as_of: date, version: int = 1) -> Release:
    return Release(name, as_of, "m", "1", "run", {"user_intents": version}, {"mrr": 0.1}, "hash", "commit")


def active(rows: list[dict[str, Any]]) -> list[str]:
    return [row["release_id"] for row in rows if row["active"]]


def test_the_newest_date_becomes_active_and_the_one_before_it_no_longer_is() -> None:
    rows = updated([], release("a", OLD))
    assert active(rows) == ["a"]
    assert active(updated(rows, release("b", NEW))) == ["b"]


@pytest.mark.parametrize(
    ("activate", "even_if_older", "wanted"),
    [(True, False, ["b"]), (False, False, ["b"]), (True, True, ["a"]), (False, True, ["b"])],
)
def test_an_older_date_becomes_active_only_if_told(activate: bool, even_if_older: bool, wanted: list[str]) -> None:
    rows = updated([], release("b", NEW))
    assert active(updated(rows, release("a", OLD), activate, even_if_older)) == wanted


def test_publication_without_activation() -> None:
    assert active(updated([], release("a", OLD), activate=False)) == []


def test_another_release_of_the_same_date_takes_over() -> None:
    assert active(updated(updated([], release("a", NEW)), release("b", NEW))) == ["b"]


def test_publishing_again_without_new_rows_keeps_the_row() -> None:
    rows = updated([], release("a", NEW, version=3))
    assert updated(rows, release("a", NEW, version=4), rewritten=False) == rows
    (row,) = updated(rows, release("a", NEW, version=4), rewritten=True)
    assert row["table_versions"] == {"user_intents": 4}
    assert row["active"]


def test_id_changes_with_everything_that_determines_the_rows(streaming: Domain, kuairand: Domain) -> None:
    inputs = {"sequences": "10:ab", "catalog": "5:cd"}
    base = release_id(streaming, NEW, "m", "1", inputs)
    assert base == release_id(streaming, NEW, "m", "1", dict(reversed(inputs.items())))
    others = [
        release_id(kuairand, NEW, "m", "1", inputs),
        release_id(streaming, OLD, "m", "1", inputs),
        release_id(streaming, NEW, "m", "2", inputs),
        release_id(streaming, NEW, "m", "1", {**inputs, "catalog": "5:ce"}),
    ]
    assert len({base, *others}) == 5
