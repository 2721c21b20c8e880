"""The demo: what it refuses, and the intervals of its DAG runs."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from intentrec.config import ROOT, load_domain
from intentrec.errors import PipelineError
from intentrec.local import demo as demos
from intentrec.local.home import Home
from tests.conftest import profile_under

FIRST = date(2026, 8, 3)


def test_without_the_simulator_it_says_what_to_do_and_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The simulator is a folder of the checkout and not part of the installed package."""
    monkeypatch.setattr(demos, "ROOT", tmp_path)
    schedule = demos.Schedule(FIRST, 0, 1)
    with pytest.raises(PipelineError, match=r"no folder simulator/ in .*folder of real data with --data"):
        demos.demo(
            Home(tmp_path / "home"), profile_under(tmp_path), ROOT / "conf" / "streaming.yaml", schedule, simulate=True
        )
    assert list(tmp_path.iterdir()) == []


def test_the_history_comes_first_and_the_weeks_follow_it() -> None:
    week = timedelta(days=7)
    schedule = demos.Schedule(FIRST, 6, 2)
    history = (FIRST, FIRST + 6 * week)
    assert schedule.intervals == [history, (history[1], history[1] + week), (history[1] + week, history[1] + 2 * week)]
    assert demos.Schedule(FIRST, 0, 1).intervals == [(FIRST, FIRST + week)]


@pytest.mark.parametrize(("name", "weeks"), [("kuairand", 0), ("movielens", 0), ("grocery", 9)])
def test_real_data_without_targets_at_first_have_a_history(name: str, weeks: int) -> None:
    """Eight weeks of groceries have no targets; the ninth is one to learn from."""
    assert demos.history_weeks(load_domain(ROOT / "conf" / f"{name}.yaml").calendar) == weeks
