"""The training loop: it learns, it repeats, it continues where it stopped, and it says why it does not train."""

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from intentrec.config import Domain
from intentrec.errors import PipelineError
from intentrec.inference.predictor import Predictor
from intentrec.training import loop
from intentrec.training.checkpoint import CHECKPOINT, save_checkpoint
from intentrec.training.distributed import set_threads
from intentrec.training.loop import FitResult, fit
from intentrec.training.settings import model_spec, with_variant
from intentrec.training.splits import NothingToTrain
from tests.model import world
from tests.registry.world import domain_of

WEEKS = 3
CUTOFF = (world.START + timedelta(weeks=WEEKS)).date()
TITLES = 24
# train_loss, train_item, val_loss, val_mrr of three epochs
GOLDEN = [
    [4.282110, 3.258978, 4.100343, 0.187396],
    [3.971988, 3.098447, 3.981203, 0.206851],
    [3.853665, 3.010442, 3.966807, 0.212227],
]


@pytest.fixture(scope="module")
def sequences() -> pa.Table:
    return world.learnable_weeks(5, 40, WEEKS, TITLES)


def train(domain: Domain, sequences: pa.Table, folder: Path, progress=lambda line: None) -> FitResult:  # type: ignore[no-untyped-def]
    return fit(domain, sequences, world.catalog(TITLES), world.NO_TITLE_FACTS, CUTOFF, folder, progress)


def losses(result: FitResult) -> list[tuple[float, ...]]:
    return [tuple(value for name, value in row.items() if name != "seconds") for row in result.history]


@pytest.mark.parametrize("variant", ["v0", "v1", "v2", "v3"])
def test_every_variant_learns_more_than_chance(
    streaming: Domain, sequences: pa.Table, tmp_path: Path, variant: str
) -> None:
    domain = with_variant(domain_of(streaming, training={"epochs": 8, "learning_rate": 0.02}), variant)
    result = train(domain, sequences, tmp_path)
    chance = sum(1 / rank for rank in range(1, TITLES + 1)) / TITLES
    assert result.metrics["val_mrr"] > 2 * chance
    assert result.history[-1]["train_item"] < 0.8 * result.history[0]["train_item"]
    assert {name for name in result.metrics if name.startswith("train_")} == {
        "train_loss",
        "train_item",
        *(f"train_{intent.name}" for intent in model_spec(domain).intents),
    }


def test_first_steps_have_the_recorded_loss(streaming: Domain, sequences: pa.Table, tmp_path: Path) -> None:
    """A golden run: a change of the model, the loss, the order of batches or the optimiser moves these numbers."""
    pinned = {"variant": "v3", "windows": ["1d", "7d"], "layers": 2, "history_path": False, "intent_weight": 0.2}
    pinned["neighbours"] = 0
    steps = {"weight_decay": 0.01, "warmup": 0.1, "seed": 7, "patience": 3, "validation_days": 2}
    clock = {"zone": "UTC", "day_start": "11:00"}  # the same days as those of the world, but other hours of the day
    result = train(domain_of(streaming, model=pinned, training=steps, calendar=clock), sequences, tmp_path)
    found = [[row[name] for name in ("train_loss", "train_item", "val_loss", "val_mrr")] for row in result.history]
    assert found == [pytest.approx(row, rel=2e-3) for row in GOLDEN]


def test_interrupted_and_resumed_equals_uninterrupted(streaming: Domain, sequences: pa.Table, tmp_path: Path) -> None:
    """Bit for bit, dropout included, although other random numbers were drawn in between."""
    domain = domain_of(streaming, model={"dropout": 0.2}, training={"epochs": 4})
    whole = train(domain, sequences, tmp_path / "whole")

    def stop(line: str) -> None:
        if line.startswith("epoch 2/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(domain, sequences, tmp_path / "parts", stop)
    torch.rand(100)
    lines: list[str] = []
    parts = train(domain, sequences, tmp_path / "parts", lines.append)
    assert lines[0] == "continuing after epoch 2"
    assert losses(parts) == losses(whole)
    for name in ("model.safetensors", "model.json"):
        assert (parts.directory / name).read_bytes() == (whole.directory / name).read_bytes()
    again = train(domain, sequences, tmp_path / "parts", lines.append)
    assert losses(again) == losses(whole)
    assert sum(line.startswith("epoch 4/") for line in lines) == 1, "a finished run trains nothing again"


@pytest.fixture(scope="module")
def short_steps(streaming: Domain) -> Domain:
    """Several steps per epoch."""
    return domain_of(streaming, model={"dropout": 0.2}, training={"epochs": 3, "tokens": 256})


@pytest.fixture(scope="module")
def whole(short_steps: Domain, sequences: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    """The uninterrupted training."""
    return train(short_steps, sequences, tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("killed_after", [1, 3, 6])
def test_resumed_inside_an_epoch_equals_uninterrupted(
    short_steps: Domain,
    whole: FitResult,
    sequences: pa.Table,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    killed_after: int,
) -> None:
    """Killed right after the n-th checkpoint, with one after every step: between two steps and before validation."""
    domain = short_steps
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    saved = []

    def save_and_die(directory: Path, state: dict) -> None:
        save_checkpoint(directory, state)
        saved.append((state["epoch"], state["step"]))
        if len(saved) == killed_after:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "save_checkpoint", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        train(domain, sequences, tmp_path / "parts")
    torch.rand(100)
    lines: list[str] = []
    parts = train(domain, sequences, tmp_path / "parts", lines.append)
    epoch, step = saved[killed_after - 1]
    assert lines[0] == f"continuing after epoch {epoch}, step {step}"
    steps = max(step for epoch, step in saved if epoch == 1)
    assert steps > 1
    assert len(saved) == len(set(saved)) == 3 * (steps + 1), "no step is made twice"
    assert losses(parts) == losses(whole)
    for name in ("model.safetensors", "model.json"):
        assert (parts.directory / name).read_bytes() == (whole.directory / name).read_bytes()


def test_a_checkpoint_of_other_data_or_settings_is_not_continued(
    streaming: Domain, sequences: pa.Table, tmp_path: Path
) -> None:
    domain = domain_of(streaming, training={"epochs": 1})
    train(domain, sequences, tmp_path)
    mark = torch.load(tmp_path / CHECKPOINT, weights_only=True)["fingerprint"]
    lines: list[str] = []
    train(domain, sequences.slice(0, len(sequences) - 2), tmp_path, lines.append)
    train(domain_of(streaming, training={"epochs": 1, "seed": 8}), sequences, tmp_path, lines.append)
    assert not any(line.startswith("going on") for line in lines)
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["fingerprint"] != mark


def test_training_stops_when_validation_no_longer_improves(
    streaming: Domain, sequences: pa.Table, tmp_path: Path
) -> None:
    domain = domain_of(streaming, training={"epochs": 40, "patience": 2, "learning_rate": 0.05})
    result = train(domain, sequences, tmp_path)
    best = max(result.history, key=lambda row: row["val_mrr"])
    assert len(result.history) == result.best_epoch + 2 < 40
    assert result.metrics["val_mrr"] == best["val_mrr"]
    assert result.best_epoch == best["epoch"]


@pytest.mark.parametrize("change", ["no row", "no target", "no validation target"])
def test_nothing_to_train_says_so(streaming: Domain, sequences: pa.Table, tmp_path: Path, change: str) -> None:
    if change == "no row":
        sequences = sequences.slice(0, 0)
    elif change == "no target":
        nothing = [[False] * len(values) for values in sequences["is_target"].to_pylist()]
        at = sequences.schema.get_field_index("is_target")
        sequences = sequences.set_column(
            at, sequences.schema.field(at), pa.array(nothing, sequences.schema.field(at).type)
        )
    else:
        first = CUTOFF - timedelta(weeks=WEEKS - 1)
        sequences = sequences.filter([day == first for day in sequences["as_of"].to_pylist()])
    with pytest.raises(NothingToTrain, match=r"no (sequences|training|validation)"):
        train(domain_of(streaming), sequences, tmp_path)


def test_rows_after_the_cutoff_are_refused(streaming: Domain, sequences: pa.Table, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lie after the cut-off"):
        fit(
            domain_of(streaming),
            sequences,
            world.catalog(3),
            world.NO_TITLE_FACTS,
            CUTOFF - timedelta(days=1),
            tmp_path,
        )


@pytest.mark.parametrize("setting", [{"bf16": True}, {"sampled": 12}])
def test_cheaper_arithmetic_learns_alike(streaming: Domain, sequences: pa.Table, tmp_path: Path, setting: dict) -> None:
    """Half precision, or a softmax over some titles: other numbers, but not by much."""
    exact = train(domain_of(streaming, training={"epochs": 5}), sequences, tmp_path / "exact")
    found = train(domain_of(streaming, training={"epochs": 5, **setting}), sequences, tmp_path / "other")
    assert losses(found) != losses(exact)
    assert found.history[-1]["val_item"] == pytest.approx(exact.history[-1]["val_item"], rel=0.1)
    chance = sum(1 / rank for rank in range(1, TITLES + 1)) / TITLES
    assert found.metrics["val_mrr"] > 1.3 * chance


def test_threads_are_set() -> None:
    before = torch.get_num_threads()
    try:
        assert set_threads(1) == torch.get_num_threads() == 1
        assert set_threads() >= 1
    finally:
        torch.set_num_threads(before)


def test_a_training_leaves_the_model_and_a_checkpoint_without_a_pickle(
    streaming: Domain, sequences: pa.Table, tmp_path: Path
) -> None:
    """The encoded rows are gone, and the random state outside is left alone."""
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    result = train(domain_of(streaming, training={"epochs": 1}), sequences, tmp_path)
    assert torch.equal(torch.rand(3), expected)
    assert sorted(path.name for path in tmp_path.iterdir()) == [CHECKPOINT, "model"]
    assert sorted(path.name for path in result.directory.iterdir()) == ["model.json", "model.safetensors"]
    about = Predictor.load(result.directory).about
    assert about["config_hash"] == domain_of(streaming, training={"epochs": 1}).hash
    assert about["cutoff"] == str(CUTOFF)


def test_a_diverged_training_says_what_to_do(streaming: Domain, sequences: pa.Table, tmp_path: Path) -> None:
    domain = domain_of(streaming, training={"learning_rate": 1e30})
    with pytest.raises(PipelineError, match=r"lower training\.learning_rate"):
        train(domain, sequences, tmp_path)
    assert not (tmp_path / "model").exists()
