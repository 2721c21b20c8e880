"""Refit: the validation days choose the epoch, and are learned afterwards."""

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from intentrec.config import Domain
from intentrec.training import loop
from intentrec.training.loop import DATA, FitResult, fit
from intentrec.training.prepare import prepare
from tests.model import world
from tests.model.world import NO_TITLE_FACTS
from tests.registry.world import domain_of

WEEKS, TITLES, USERS = 3, 24, 40
END = world.START + timedelta(weeks=WEEKS)  # of the rows
CUTOFF = (END + timedelta(days=1)).date()


@pytest.fixture(scope="module")
def sequences() -> pa.Table:
    return world.learnable_weeks(5, USERS, WEEKS, TITLES)


def domain(streaming: Domain, **training: object) -> Domain:
    return domain_of(streaming, model={"dropout": 0.2}, training={"epochs": 4, "validation_days": 3, **training})


def train(of: Domain, sequences: pa.Table, folder: Path, progress=lambda line: None) -> FitResult:  # type: ignore[no-untyped-def]
    return fit(of, sequences, world.catalog(TITLES), NO_TITLE_FACTS, CUTOFF, folder, progress)


def weights(found: Path) -> bytes:
    return (found / "model.safetensors").read_bytes()


def curve(found: FitResult) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in found.history]


def test_it_is_the_training_for_which_no_day_was_held_out(
    streaming: Domain, sequences: pa.Table, whole: FitResult, tmp_path: Path
) -> None:
    """The same weights, bit by bit, as where the one held-out day holds only the rows of a new user."""
    held_out = train(domain(streaming), sequences, tmp_path / "held_out")
    refit = whole
    assert curve(refit) == curve(held_out)
    assert (refit.best_epoch, refit.metrics["val_mrr"]) == (held_out.best_epoch, held_out.metrics["val_mrr"])
    known = sequences.to_pylist()[0]
    arrays = [name for name, value in known.items() if isinstance(value, list) and name != "window_start"]
    first = {name: known[name][0] for name in arrays}
    late = [{**first, "end_ts": END + timedelta(hours=hour), "is_target": True} for hour in (1, 2)]
    newcomer = world.row("zzzz", CUTOFF, 2, late)
    every_day = domain(streaming, validation_days=1)
    folder = tmp_path / "every_day"
    rows = pa.concat_tables([sequences, world.table([newcomer])])
    prepare(every_day, rows, world.catalog(TITLES), NO_TITLE_FACTS, CUTOFF, folder / DATA)
    expected = loop.train(every_day, folder, refit.best_epoch)
    assert weights(refit.directory) == weights(expected.directory)
    assert weights(refit.directory) != weights(held_out.directory)


@pytest.fixture(scope="module")
def whole(streaming: Domain, sequences: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    """The uninterrupted training."""
    return train(domain(streaming, refit=True), sequences, tmp_path_factory.mktemp("whole"))


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["epoch 2/", "training again", "second epoch 1/"])
def test_interrupted_and_resumed_equals_uninterrupted(
    streaming: Domain, sequences: pa.Table, whole: FitResult, tmp_path: Path, moment: str
) -> None:
    """In the first training, between the two, and in the second."""
    of = domain(streaming, refit=True)
    assert whole.best_epoch > 1, "the second training has an epoch to go on with"
    stop_at = moment.removeprefix("second ")
    seen: list[str] = []

    def stop(line: str) -> None:
        seen.append(line)
        if line.startswith(stop_at) and ("second" not in moment or any("training again" in each for each in seen)):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(of, sequences, tmp_path / "parts", stop)
    again: list[str] = []
    parts = train(of, sequences, tmp_path / "parts", again.append)
    assert again[0].startswith("continuing after epoch")
    trained = [line for line in [*seen, *again] if line.startswith("epoch")]
    assert len(trained) == len({line.split("  ")[0] + str("val" in line) for line in trained}), "no epoch twice"
    assert curve(parts) == curve(whole)
    assert weights(parts.directory) == weights(whole.directory)
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == ["checkpoint.pt", "model", "refit"]
