"""Titles that were seen, in scoring and in the metric: users with more history than a sequence holds. Plain loops."""

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from intentrec.config import Domain
from intentrec.contracts import TITLE_STATE
from intentrec.errors import PipelineError
from intentrec.evaluation.candidates import Titles
from intentrec.evaluation.naive_baselines import HISTORY_RULES, HistoryBaseline, popularity
from intentrec.evaluation.week_ahead import week_ahead
from intentrec.inference.predictor import Predictor
from intentrec.inference.seen import SeenTitles, seen_since
from intentrec.model.titles import SEEN
from intentrec.storage.runs import Run
from intentrec.training.checkpoint import read_model, save_model
from tests.model import world as rows
from tests.model.world import NO_TITLE_FACTS
from tests.registry import world

USERS, TITLES, LENGTH, WEEKS = 24, 30, 3, 4
CUT = world.FIRST + timedelta(weeks=WEEKS)
WANTED = 10  # titles of a list


def ended(user: int, number: int) -> datetime:
    """When the user's interaction ended: one every 40 hours, the last of them an hour before the cut."""
    return rows.START + timedelta(weeks=WEEKS, hours=-1 - 40 * number, minutes=user)


def history(user: int) -> dict[str, datetime]:
    """The last touch of each of 14 titles before the cut, the latest first."""
    return {rows.title((user + 2 * number) % TITLES): ended(user, number) for number in range(14)}


def sequences() -> pa.RecordBatch:
    """The snapshot as of the cut: the latest LENGTH interactions of each user."""
    rng, found = np.random.default_rng(1), []
    for user in range(USERS):
        latest = list(history(user).items())[:LENGTH][::-1]
        each = [rows.interaction(rng, int(title[1:]), moment) for title, moment in latest]
        found.append(rows.row(f"u{user}", CUT, 1, each))
    return rows.table(found).combine_chunks().to_batches()[0]


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """A model with random weights."""
    spec, known = rows.spec(), pa.Table.from_batches([sequences()])
    model, encoder, _ = rows.model_of(spec, known)
    calendar = {"zone": "America/Los_Angeles", "day_start": "04:00"}
    about = {"spec": spec.to_dict(), "vocabulary": encoder.vocabulary.to_dict(), "calendar": calendar}
    folder = tmp_path_factory.mktemp("random")
    save_model(folder, model.state_dict(), about)
    return Predictor(read_model(folder))


@pytest.fixture
def run(new_run: Callable[..., Run]) -> Run:
    """The state as of the cut, and as of a week later, when every user has touched every title."""
    run = new_run("gate", CUT - timedelta(weeks=1), CUT)
    later, now = CUT + timedelta(weeks=1), rows.START + timedelta(weeks=WEEKS, days=1)
    state = [
        world.touched(CUT, f"u{user}", title, moment)
        for user in range(USERS)
        for title, moment in history(user).items()
    ]
    state += [world.touched(later, f"u{user}", rows.title(i), now) for user in range(USERS) for i in range(TITLES)]
    world.put(run.warehouse, TITLE_STATE, pa.Table.from_pylist(state, schema=world.state_of(NOTHING, set()).schema))
    return run


NOTHING = world.interactions_of(rows.table([]))


def seen_of(run: Run, domain: Domain, users: list[str], as_of: date = CUT) -> SeenTitles:
    return SeenTitles.read(run.warehouse, 0, as_of, pa.array(users), domain)


def lists(predictor: Predictor, batch: pa.RecordBatch) -> dict[str, list[str]]:
    items = predictor.items(rows.catalog(TITLES), NO_TITLE_FACTS, CUT)
    found = predictor.predict(batch, items, WANTED, lists="new").to_pylist()
    return {row["user_id"]: row["title_ids"] for row in found}


def engaged_before(found: Mapping[str, list[str]]) -> int:
    """How many recommendations were engaged before, by a loop over all histories."""
    return sum(title in history(int(user[1:])) for user, titles in found.items() for title in titles)


def test_no_recommendation_was_engaged_before(run: Run, predictor: Predictor, streaming: Domain) -> None:
    batch = sequences()
    assert engaged_before(lists(predictor, batch)) > USERS, "the sequence alone does not know"
    seen = seen_of(run, streaming, [f"u{user}" for user in range(USERS)])
    found = lists(predictor, seen.add_to(batch))
    assert {len(titles) for titles in found.values()} == {WANTED}
    assert engaged_before(found) == 0


def test_a_title_counts_as_seen_for_as_long_as_the_domain_says(
    run: Run, predictor: Predictor, streaming: Domain
) -> None:
    """A visit that ended exactly at the bound counts, one a minute before it does not."""
    hours = 1 + 40 * 5  # u0's sixth title back ended exactly so long before the cut; the other users' ended later
    publishing = streaming.publishing.model_copy(update={"seen_for": f"{hours}h"})
    domain = streaming.model_copy(update={"publishing": publishing})
    since = seen_since(CUT, domain)
    assert since == ended(0, 5) == rows.START + timedelta(weeks=WEEKS, hours=-hours)
    assert seen_since(CUT, streaming) is None
    late = domain.model_copy(update={"publishing": publishing.model_copy(update={"seen_for": f"{hours * 60 - 1}m"})})
    for chosen, kept in ((domain, 6), (late, 5)):
        marked = seen_of(run, chosen, ["u0"]).add_to(sequences())
        assert set(marked.column(marked.schema.get_field_index(SEEN))[0].as_py()) == set(list(history(0))[:kept])
    found = lists(predictor, seen_of(run, domain, [f"u{user}" for user in range(USERS)]).add_to(sequences()))
    for user, titles in found.items():
        assert not {t for t, moment in history(int(user[1:])).items() if moment >= since} & set(titles)
    assert engaged_before(found) > 0


def test_users_keep_their_own_titles_in_any_order_and_others_have_none(run: Run, streaming: Domain) -> None:
    batch = sequences().take(pa.array([3, 0, 2, 1]))
    marked = seen_of(run, streaming, ["u2", "nobody", "u3"]).add_to(batch)
    found = marked.column(marked.schema.get_field_index(SEEN)).to_pylist()
    assert [set(titles) for titles in found] == [set(history(3)), set(), set(history(2)), set()]
    nobody = seen_of(run, streaming, []).add_to(batch)
    assert nobody.column(nobody.schema.get_field_index(SEEN)).to_pylist() == [[]] * 4


def test_a_date_without_a_state_is_refused(run: Run, streaming: Domain) -> None:
    day = CUT - timedelta(weeks=1)
    with pytest.raises(PipelineError, match=f"title_state has no rows as of {day}.*build_interactions"):
        seen_of(run, streaming, ["u0"], day)


@pytest.mark.parametrize("seen_titles", [False, True])
def test_the_metric_knows_what_scoring_knows(run: Run, streaming: Domain, seen_titles: bool) -> None:
    """Every user engages a title of long ago, one of the sequence and an unseen one: the unseen one alone counts."""
    unseen = {u: next(t for t in map(rows.title, range(u, TITLES)) if t not in history(u)) for u in range(0, USERS, 2)}
    wanted = [
        (f"u{user}", title)
        for user, new in unseen.items()
        for title in (list(history(user))[-1], next(iter(history(user))), new)
    ]
    targets = pa.table(
        {
            "user_id": [user for user, _ in wanted],
            "title_id": [title for _, title in wanted],
            "release_age_days": [100.0] * len(wanted),
        }
    )
    titles = Titles.of(map(rows.title, range(TITLES)))
    popular_N = popularity(titles.index(pa.array([rows.title(i) for i in range(TITLES) for _ in range(i)])), TITLES)
    systems = {"popular": HistoryBaseline(HISTORY_RULES["popularity_7d"], titles, popular_N)}
    batch = seen_of(run, streaming, sorted({user for user, _ in wanted})).add_to(sequences())
    found = week_ahead([batch.slice(0, 5), batch.slice(5)], targets, titles, systems, seen_titles)["popular"]

    gains = []
    for user, new in unseen.items():
        order = [rows.title(i) for i in reversed(range(TITLES)) if rows.title(i) not in history(user)]
        rank = 1 + order.index(new)
        gains.append(1 / np.log2(1 + rank) if rank <= 10 else 0.0)
    name = "ndcg_at_10_unseen" if seen_titles else "ndcg_at_10"
    assert found.metrics[name] == pytest.approx(np.mean(gains))
    assert found.metrics["users"] == len(unseen)
