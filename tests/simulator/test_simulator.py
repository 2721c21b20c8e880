"""The files that the simulator writes: deterministic, the same in a larger world, never mixed with other data."""

import hashlib
import json
from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from scipy.stats import spearmanr
from typer.testing import CliRunner, Result

from intentrec.config import ROOT, SIMULATED_MANIFEST, Domain, marker_name
from intentrec.errors import PipelineError
from simulator import Settings, simulate
from simulator.__main__ import app
from simulator.catalogue import Catalogue
from simulator.settings import WORLDS
from simulator.users import population
from tests.simulator.files import END, START, TINY, content, texts, truth_rows


def raw_rows(landing: Path) -> Counter[str]:
    return Counter(text for _, _, text in texts(landing))


def outcomes(truth: Path) -> Counter[tuple]:
    """Truth rows without their line number, which depends on the number of users."""
    return Counter(tuple(value for key, value in row.items() if key != "source_line") for row in truth_rows(truth))


def test_the_same_seed_gives_the_same_bytes_and_a_second_call_the_same_files(tmp_path: Path) -> None:
    end = START + timedelta(days=21)
    for folder in ("a", "b", "b"):
        simulate(replace(TINY, users=12), START, end, tmp_path / folder / "landing", tmp_path / folder / "truth")
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_another_seed_is_another_world(tmp_path: Path) -> None:
    for seed in (7, 8):
        simulate(replace(TINY, seed=seed), START, START + timedelta(days=7), tmp_path / f"{seed}", tmp_path / "truth")
    assert not raw_rows(tmp_path / "7") & raw_rows(tmp_path / "8")


@pytest.mark.parametrize("world", WORLDS)
def test_a_week_is_the_same_whatever_range_and_population_it_is_written_with(world: str, tmp_path: Path) -> None:
    small = replace(TINY, world=world, users=12)
    middle, end = START + timedelta(days=14), START + timedelta(days=28)
    simulate(small, START, middle, tmp_path / "a", tmp_path / "a-truth")
    before = content(tmp_path / "a")
    rows, truth = raw_rows(tmp_path / "a"), outcomes(tmp_path / "a-truth")

    simulate(small, START, end, tmp_path / "long", tmp_path / "long-truth")
    later = content(tmp_path / "long")
    assert {name: later[name] for name in before} == before

    simulate(small, middle, end, tmp_path / "a", tmp_path / "a-truth")  # the later weeks beside the earlier ones
    assert content(tmp_path / "a") == later

    simulate(replace(small, users=20), START, middle, tmp_path / "wide", tmp_path / "wide-truth")
    assert not rows - raw_rows(tmp_path / "wide")
    assert not truth - outcomes(tmp_path / "wide-truth")
    assert len(raw_rows(tmp_path / "wide")) > len(rows)


def test_fewer_users_leave_no_file_of_the_larger_world_behind(tmp_path: Path) -> None:
    stop = START + timedelta(days=7)
    simulate(replace(TINY, users=25), START, stop, tmp_path / "both", tmp_path / "t")
    simulate(replace(TINY, users=3), START, stop, tmp_path / "both", tmp_path / "t")
    simulate(replace(TINY, users=3), START, stop, tmp_path / "alone", tmp_path / "t")
    assert content(tmp_path / "both") == content(tmp_path / "alone")


def test_every_file_has_a_marker_with_its_hash(tmp_path: Path) -> None:
    simulate(replace(TINY, users=3), START, START + timedelta(days=7), tmp_path / "landing", tmp_path / "truth")
    files = list((tmp_path / "landing").rglob("*.jsonl.gz"))
    assert files
    for path in files:
        marker = path.with_name(marker_name(path.name)).read_text()
        assert marker == f"{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def test_ids_carry_no_order() -> None:
    users = population(replace(TINY, users=400))
    titles = Catalogue(TINY, END).titles
    for prefix, ids in {
        "u": [user.user_id for user in users],
        "a": list(dict.fromkeys(user.account_id for user in users)),
        "t": [title.title_id for title in titles],
        "i": [item for title in titles for item in title.items],
    }.items():
        assert len(set(ids)) == len(ids)
        assert {(one[0], len(one)) for one in ids} == {(prefix, 13)}
        assert spearmanr(range(len(ids)), [int(one[1:], 16) for one in ids]).pvalue > 0.001


def test_accounts_hold_one_to_four_profiles() -> None:
    sizes = Counter(Counter(user.account_id for user in population(replace(TINY, users=400))).values())
    assert set(sizes) == {1, 2, 3, 4}


def test_the_manifest_of_a_former_version_counts_as_the_same_world(tmp_path: Path) -> None:
    manifest = {
        "epoch": "2026-08-03",
        "seed": "7",
        "titles": "120",
        "world": "intent",
        "zone": "America/Los_Angeles",
        "day_start": "04:00:00",
        "session_gap_s": "1800",
        "lateness_s": "172800",
        "max_duration_s": "43200",
        "drift_week": "4",
        "dirt": "4.0",
    }
    path = tmp_path / "landing" / SIMULATED_MANIFEST
    path.parent.mkdir()
    path.write_text(json.dumps(manifest, indent=1) + "\n")
    simulate(replace(TINY, users=1), START, START + timedelta(weeks=1), tmp_path / "landing", tmp_path / "truth")
    assert json.loads(path.read_text()) == manifest


def test_two_worlds_do_not_mix(tmp_path: Path) -> None:
    simulate(replace(TINY, users=3), START, START + timedelta(days=7), tmp_path / "landing", tmp_path / "truth")
    before = content(tmp_path)
    with pytest.raises(PipelineError, match="another simulated world"):
        simulate(replace(TINY, world="null"), START, END, tmp_path / "landing", tmp_path / "truth")
    assert content(tmp_path) == before


def test_a_world_does_not_mix_with_real_data(tmp_path: Path) -> None:
    real = tmp_path / "landing" / "catalog" / f"snapshot={START}" / "items.jsonl.gz"
    real.parent.mkdir(parents=True)
    real.write_bytes(b"theirs")
    with pytest.raises(PipelineError, match=r"data that was not simulated, such as .*items\.jsonl\.gz"):
        simulate(TINY, START, END, tmp_path / "landing", tmp_path / "truth")
    assert content(tmp_path / "landing") == {str(real.relative_to(tmp_path / "landing")): b"theirs"}


@pytest.mark.parametrize(
    ("start", "end"),
    [(START, START), (START - timedelta(days=7), END), (START, date(2026, 8, 12)), (date(2026, 8, 5), END)],
)
def test_a_range_that_is_not_weeks_of_the_world_is_refused(start: date, end: date, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=str(START)):
        simulate(TINY, start, end, tmp_path / "l", tmp_path / "t")
    assert not (tmp_path / "l").exists()


def test_settings_follow_the_domain_s_calendar(streaming: Domain, kuairand: Domain) -> None:
    settings = Settings.from_domain(streaming, users=5, world="null")
    assert (settings.epoch, settings.zone, settings.users) == (START, "America/Los_Angeles", 5)
    with pytest.raises(PipelineError, match="none of intent, null"):
        Settings.from_domain(streaming, world="steady")
    with pytest.raises(PipelineError, match=r"kuairand.*trailer"):
        Settings.from_domain(kuairand)
    with pytest.raises(PipelineError, match="at least"):
        Settings.from_domain(streaming, titles=3)


def test_command_line_writes_below_home_and_explains_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTENTREC_HOME", str(tmp_path))

    def command(*more: str) -> Result:
        words = ["--config", str(ROOT / "conf" / "streaming.yaml"), "--start", str(START)]
        return CliRunner().invoke(app, [*words, "--users", "5", "--titles", "60", *more])

    done = command("--end", "2026-08-10")
    assert done.exit_code == 0, done.stderr
    assert "raw rows (accepted" in done.stdout
    assert list((tmp_path / "landing/streaming/events").glob("arrived=2026-08-0*/week-2026-08-03.jsonl.gz"))
    assert (tmp_path / "landing/streaming/catalog/snapshot=2026-08-03/items.jsonl.gz").exists()
    assert (tmp_path / "work/truth/streaming/events/week=2026-08-03.parquet").exists()
    refused = command("--end", "2026-08-11")
    assert refused.exit_code == 1
    assert len(refused.stderr.splitlines()) == 1
    assert "not whole weeks" in refused.stderr
