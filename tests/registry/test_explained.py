"""What is published for a user, and why: the command on releases of V3 and of a naive baseline.

`test_intent_lists` explains one of V4.
"""

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from html import escape
from math import fsum
from pathlib import Path
from shutil import copytree

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyspark.sql import SparkSession

from intentrec import cli
from intentrec.contracts import CATALOG, INTERACTIONS, RECOMMENDATIONS, RELEASES, SEQUENCES
from intentrec.errors import PipelineError
from intentrec.registry.explained import Explained, explained
from intentrec.registry.publish import publish
from intentrec.registry.releases import NO_VERSION
from intentrec.registry.served_user import chosen_release
from intentrec.storage.consumer import read
from intentrec.storage.delta import Snapshot
from intentrec.storage.runs import attempt
from intentrec.storage.warehouse import Warehouse
from tests.conftest import without_audits
from tests.registry import world
from tests.registry.judged import Judged, files_of

WEEK = timedelta(weeks=1)
USER, ABSENT, LAST_SEEN = "u0001", "u0003", world.END - 2 * WEEK
NAME = "Nights [bold] <b>in</b> Lisbon"  # of a title; neither markup of rich nor of HTML


@dataclass(frozen=True)
class Published:
    """A home after one publication, and its files."""

    home: Judged
    config: Path
    environment: dict[str, str]

    @property
    def root(self) -> str:
        return self.home.run("explain").warehouse

    def explained(self, user: str) -> Explained:
        return explained(self.home.profile, self.home.domain, user)


@pytest.fixture(scope="module")
def published(spark: SparkSession, judged: Judged, tmp_path_factory: pytest.TempPathFactory) -> Published:
    """The judged model has a history path and neighbours.

    The labels are of the domain's own rules, and one user was absent in the last two weeks.
    """
    folder = tmp_path_factory.mktemp("explained")
    home = copied_to(folder, replace(judged, domain=world.domain_of(judged.domain, publishing={"active_weeks": 2})))
    config, environment = files_of(home.profile, home.domain, folder)
    root = home.run("publish").warehouse
    with_rules(root, home.domain.interactions.rules_version)
    catalog = Snapshot(root, CATALOG).rows()
    world.put(
        root, CATALOG, pa.Table.from_pylist([{**row, "text": NAME} for row in catalog.to_pylist()], catalog.schema)
    )
    sequences = Snapshot(root, SEQUENCES).rows()
    is_left_out = pc.and_(pc.equal(sequences["user_id"], ABSENT), pc.greater(sequences["as_of"], LAST_SEEN))
    world.put(root, SEQUENCES, sequences.filter(pc.invert(is_left_out)))
    profile = Path(environment["INTENTREC_PROFILE"])
    with attempt("publish", world.END - WEEK, world.END, config, profile) as run, without_audits():
        publish(Warehouse(spark, run), activate=True, even_if_older=False)
    return Published(home, config, environment)


def copied_to(folder: Path, home: Judged) -> Judged:
    """With a copy of the tables below a folder."""
    moved = replace(home, profile=home.profile.model_copy(update={"warehouse": str(folder)}))
    copytree(home.run("explain").warehouse, moved.run("explain").warehouse)
    return moved


def with_rules(root: str, version: str) -> None:
    """Let all labels be of these rules."""
    rows = Snapshot(root, INTERACTIONS).rows()
    place = rows.column_names.index("rules_version")
    world.put(root, INTERACTIONS, rows.set_column(place, "rules_version", pa.array([version] * len(rows))))


@pytest.fixture
def typed(
    published: Published, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess]:
    """Runs `intentrec explain ARGUMENTS`, in this process."""
    for name, value in published.environment.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> subprocess.CompletedProcess:
        monkeypatch.setattr(sys, "argv", ["intentrec", "explain", *arguments, "--config", str(published.config)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, int(ended.value.code or 0), said.out, said.err)

    return run


def rows_of(table: str, root: str, user: str) -> list[dict]:
    return [row for row in read(table, root).to_pylist() if row["user_id"] == user]


@pytest.mark.slow
def test_parts_add_up_to_the_published_scores(published: Published) -> None:
    for user in (USER, "u0010", "u0017"):
        found = published.explained(user)
        rows = sorted(rows_of("recommendations", published.root, user), key=lambda row: row["rank"])
        assert [(each.rank, each.title_id, each.score, each.known) for each in found.recommended] == [
            (row["rank"], row["title_id"], row["score"], row["known"]) for row in rows
        ]
        for each in found.recommended:
            assert each.parts is not None
            assert fsum([*each.parts.logit.values(), *each.parts.beside.values()]) == pytest.approx(
                each.score, abs=1e-4
            )
            assert fsum(near.bias for near in each.parts.neighbours) == pytest.approx(
                each.parts.logit["neighbours"], abs=1e-4
            )
        (intents,) = rows_of("user_intents", published.root, user)
        assert {name: list(labels) for name, labels in found.intents.items()} == dict(intents["top_labels"])
        assert found.attention == dict(intents["attention"])
        assert found.primary == intents["primary_intent"]


@pytest.mark.slow
def test_text_and_page_hold_what_is_published(published: Published, typed: Callable, tmp_path: Path) -> None:
    page = tmp_path / "pages" / "user.html"
    done = typed(USER, "--html", str(page))
    assert done.returncode == 0, done.stderr
    html = page.read_text(encoding="utf-8")
    assert NAME in done.stdout
    assert "&lt;b&gt;in&lt;/b&gt;" in html
    assert "<b>in" not in html
    (intents,) = rows_of("user_intents", published.root, USER)
    numbers = [row["score"] for row in rows_of("recommendations", published.root, USER)]
    numbers += [value for _, values in intents["top_probabilities"] for value in values]
    numbers += [value for _, value in intents["attention"]]
    (release,) = Snapshot(published.root, RELEASES).rows().to_pylist()
    texts = [f"{value:.4f}" for value in numbers] + [release["release_id"], release["config_hash"]]
    texts += [release["code_version"], release["mlflow_run_id"], published.home.domain.interactions.rules_version]
    for text in texts:
        assert text in done.stdout
        assert text in html
    rules = {rule.name: rule.when for rule in published.home.domain.interactions.action_types}
    for each in published.explained(USER).recent:
        assert each.when == rules[each.action_type]
        assert escape(each.when) in html
    assert re.search(r"recommendations +\d+ +publish +[0-9a-f]{8} ", done.stdout)
    assert re.search(r"(src|href)=.(?!data:)", html) is None


@pytest.mark.slow
def test_the_user_has_a_pseudonym_by_default(typed: Callable, tmp_path: Path) -> None:
    page = tmp_path / "user.html"
    done = typed(USER, "--html", str(page))
    assert re.search(r"User [0-9a-f]{8} in release", done.stdout)
    assert USER not in done.stdout + page.read_text(encoding="utf-8")
    done = typed(USER, "--html", str(page), "--show-ids")
    assert f"User {USER} in release" in done.stdout
    assert f"User {USER}, as of" in page.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nobody"], "does not serve this user, who has no row in `sequences`.*Check the id"),
        ([ABSENT], f"last active in the week from {LAST_SEEN - WEEK}.*active_weeks: 2.*--week {LAST_SEEN - WEEK}"),
        ([USER, "--week", "2026-08-03"], f"the week from 2026-08-03 has no release: .* --week: {world.END - WEEK}"),
    ],
)
def test_who_is_not_served_is_told_why(typed: Callable, arguments: list[str], message: str) -> None:
    done = typed(*arguments)
    assert done.returncode == 1
    assert re.search(message, done.stderr), done.stderr


@pytest.fixture
def copied(published: Published, tmp_path: Path) -> Published:
    """With tables that one test alone changes."""
    return replace(published, home=copied_to(tmp_path, published.home))


def put_release(root: str, **changed: object) -> None:
    """Change the release's row."""
    releases = Snapshot(root, RELEASES).rows()
    world.put(root, RELEASES, pa.Table.from_pylist([{**releases.to_pylist()[0], **changed}], releases.schema))


@pytest.mark.slow
def test_other_scores_than_the_published_ones_are_refused(copied: Published) -> None:
    rows = Snapshot(copied.root, RECOMMENDATIONS).rows()
    scores = pa.array([score + 0.01 for score in rows["score"].to_pylist()], pa.float32())
    world.put(copied.root, RECOMMENDATIONS, rows.set_column(rows.column_names.index("score"), "score", scores))
    (release,) = Snapshot(copied.root, RELEASES).rows().to_pylist()
    versions = {**dict(release["table_versions"]), "recommendations": Snapshot(copied.root, RECOMMENDATIONS).version}
    put_release(copied.root, table_versions=list(versions.items()))
    with pytest.raises(PipelineError, match=r"the score of t0\d\d in recommendations is .*, but version 1 of .* gives"):
        copied.explained(USER)


@pytest.mark.slow
def test_a_naive_baseline_has_lists_only(copied: Published) -> None:
    (release,) = Snapshot(copied.root, RELEASES).rows().to_pylist()
    versions = [pair for pair in release["table_versions"] if pair[0] not in ("user_intents", "user_vectors")]
    put_release(copied.root, model_name="markov", model_version=NO_VERSION, table_versions=versions)
    found = copied.explained(USER)
    assert [each.title_id for each in found.recommended] == [
        row["title_id"] for row in sorted(rows_of("recommendations", copied.root, USER), key=lambda row: row["rank"])
    ]
    assert [each.parts for each in found.recommended] == [None] * 5
    assert (found.intents, found.attention, found.primary) == ({}, {}, "")
    assert len(found.recent) == 10


def release(name: str, as_of: date, version: int, active: bool) -> dict:
    return {"release_id": name, "as_of": as_of, "active": active, "table_versions": [("recommendations", version)]}


def test_which_release_is_explained() -> None:
    first = date(2026, 8, 31)
    rows = [release("old", first, 3, False), release("again", first, 5, False), release("new", first + WEEK, 4, True)]
    assert chosen_release(rows, None)["release_id"] == "new"
    assert chosen_release(rows, first)["release_id"] == "new"
    assert chosen_release(rows, first - WEEK)["release_id"] == "again"
    rows[0]["active"], rows[2]["active"] = True, False
    assert chosen_release(rows, first - WEEK)["release_id"] == "old"
    with pytest.raises(PipelineError, match="nothing was published yet"):
        chosen_release([], None)
    with pytest.raises(PipelineError, match=r"no release is active: .* --week: 2026-08-24, 2026-08-31"):
        chosen_release([{**row, "active": False} for row in rows], None)
