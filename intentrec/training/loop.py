"""The training loop: warm-up and cosine, early stopping on next-event MRR, exact resume at any step.

Each epoch draws its order from (seed, epoch), and each step its dropout from (seed, epoch, step). So an interrupted
training ends with the same bits as one that was not.
"""

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import torch
from torch import Tensor

from intentrec.config import Domain, Training
from intentrec.errors import PipelineError
from intentrec.model.build import build
from intentrec.model.features import Items
from intentrec.model.loss import LossSettings
from intentrec.model.network import Network
from intentrec.training import distributed
from intentrec.training.batches import batches
from intentrec.training.checkpoint import load_checkpoint, save_checkpoint, save_model
from intentrec.training.distributed import device
from intentrec.training.prepare import Prepared, load, prepare
from intentrec.training.steps import learning_rate, loaded, optimizer_of, step, tasks, validate

CHECKPOINT_SECONDS = 600.0  # inside an epoch
DATA, REFIT = "data", "refit"


@dataclass(frozen=True)
class FitResult:
    """A trained model and how it got there."""

    directory: Path  # model.safetensors and model.json, of the best epoch or of the refit
    history: list[dict[str, float]]  # per epoch: train_*, val_* (losses and mrr), lr, seconds; none of a refit
    best_epoch: int  # counted from 1
    metrics: dict[str, float]  # of the best epoch, while the validation days were held out


@dataclass
class _State:
    """The progress of a training: what a checkpoint holds beside weights and optimiser."""

    fingerprint: str
    epoch: int = 0  # finished ones
    step: int = 0  # finished ones of the epoch
    sums: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))  # of the epoch's losses
    seconds: float = 0.0  # of the epoch
    best: int = 0
    best_mrr: float = -1.0
    best_model: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass
class _Loop:
    """A training in progress."""

    settings: Training
    data: Prepared
    model: Network
    optimizer: torch.optim.Optimizer
    hardware: torch.device
    catalog: Items
    loss: LossSettings
    state: _State
    out_dir: Path
    half: bool  # whether matrices are multiplied in bfloat16
    last: int | None  # the epoch whose weights are kept; None: the best epoch on the validation days
    saved: float  # when the last checkpoint was written


def fit(
    domain: Domain,
    sequences: pa.Table | ds.Dataset,
    catalog: pa.Table,
    title_facts: pa.Table,
    cutoff: date,
    out_dir: Path,
    progress: Callable[[str], None] = print,
) -> FitResult:
    """Train the domain's model on stacked weekly rows up to a cut-off.

    With `training.refit` it is trained twice: first to find the best number of epochs on the validation days, then from
    the start for that many epochs of the same schedule, with these days among the training targets.

    Among several processes (`intentrec.training.distributed`) the first one calls this; all of them see `out_dir`.

    Args:
        domain: its model and training sections decide; `intentrec.training.settings.with_variant` changes the variant.
        sequences: rows as `data.open_sequences` or `data.read_sequences` gives them, none after the cut-off.
        catalog: rows as `data.read_catalog` gives them, none after the cut-off.
        title_facts: rows as `data.read_title_facts` gives them, for all weeks of training.
        cutoff: service date from which on nothing is known.
        out_dir: receives `model/` and, during training, the encoded rows and a checkpoint, from which an interrupted
            training continues.
        progress: takes a line per epoch.

    Raises:
        NothingToTrain: no training or no validation target.
        PipelineError: the loss diverged, or no interaction has a label of any intent.
        ValueError: rows after the cut-off.
    """
    try:
        for intent in prepare(domain, sequences, catalog, title_facts, cutoff, out_dir / DATA):
            progress(f"no interaction has a label of the intent {intent}: it is left out")
        with distributed.leading(domain, out_dir):
            found = train(domain, out_dir, progress=progress)
        if not domain.training.refit:
            return found
        again = out_dir / REFIT
        progress(f"training again for {found.best_epoch} epochs, with the validation days")
        prepare(domain, sequences, catalog, title_facts, cutoff, again / DATA, held_out=False)
        with distributed.leading(domain, again, found.best_epoch):
            return replace(found, directory=train(domain, again, found.best_epoch, progress).directory)
    finally:
        for folder in (out_dir, out_dir / REFIT):
            shutil.rmtree(folder / DATA, ignore_errors=True)


def train(
    domain: Domain, out_dir: Path, last: int | None = None, progress: Callable[[str], None] = lambda line: None
) -> FitResult:
    """Train on the data prepared in `out_dir`. Every process calls this, and the first one writes.

    Args:
        domain: as it was prepared for.
        out_dir: see `fit`.
        last: train up to this epoch and keep its weights; None: stop early by the validation days and keep the best.
        progress: takes a line per epoch.

    Raises:
        PipelineError: the loss diverged.
    """
    data = load(out_dir / DATA)
    settings = domain.training
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        loop = _begin(domain, data, out_dir, last, progress)
        progress(_summary(data, loop.model))
        state = loop.state
        while state.epoch < (last or settings.epochs) and state.epoch - state.best < settings.patience:
            _epoch(loop)
            _save(loop)
            progress(_line(last or settings.epochs, state))
    if distributed.rank() == 0:
        about = {
            "spec": loop.model.spec.to_dict(),
            "vocabulary": data.vocabulary.to_dict(),
            "calendar": domain.calendar.model_dump(mode="json", include={"zone", "day_start"}),
            "config_hash": domain.hash,
            "cutoff": str(data.cutoff),
            "fingerprint": data.fingerprint,
        }
        save_model(out_dir / "model", state.best_model, about)
    metrics = {name: value for name, value in state.history[state.best - 1].items() if name != "epoch"}
    return FitResult(out_dir / "model", state.history, state.best, metrics)


def _begin(domain: Domain, data: Prepared, out_dir: Path, last: int | None, progress: Callable[[str], None]) -> _Loop:
    """A model with fresh weights, or the state of a checkpoint."""
    hardware, settings = device(), domain.training
    model = build(data.spec, data.vocabulary)
    if data.start_ID is not None:
        model.titles.start_at(data.start_ID)
    if model.neighbours is not None and data.neighbours is not None:
        model.neighbours.set_counts(data.neighbours)
    model = model.to(hardware)
    if _wanted(settings.compile, hardware):
        model.compile(dynamic=True)
    loop = _Loop(
        settings=settings,
        data=data,
        model=model,
        optimizer=optimizer_of(model, settings),
        hardware=hardware,
        catalog=data.catalog.map(lambda tensor: tensor.to(hardware)),
        loss=LossSettings(sampled=settings.sampled, proposal=(data.count_I + 1).to(hardware)),
        state=_State(data.fingerprint),
        out_dir=out_dir,
        half=_wanted(settings.bf16, hardware),
        last=last,
        saved=time.monotonic(),
    )
    stored = load_checkpoint(out_dir, data.fingerprint)
    if stored is not None:
        model.load_state_dict(stored.pop("model"))
        loop.optimizer.load_state_dict(stored.pop("optimizer"))
        loop.state = _State(**stored)
        progress(
            f"continuing after epoch {loop.state.epoch}" + (f", step {loop.state.step}" if loop.state.step else "")
        )
    return loop


def _wanted(setting: bool | str, hardware: torch.device) -> bool:
    """The value of a setting that may be `auto`, which means true on a GPU."""
    return hardware.type == "cuda" if setting == "auto" else bool(setting)


def _save(loop: _Loop) -> None:
    """Write a checkpoint. All processes have the same state, so the first one writes it."""
    if distributed.rank() == 0:
        parts = {"model": loop.model.state_dict(), "optimizer": loop.optimizer.state_dict()}
        save_checkpoint(loop.out_dir, vars(loop.state) | parts)
    loop.saved = time.monotonic()


def _epoch(loop: _Loop) -> None:
    """Train the rest of an epoch, validate if days are held out, and update the state."""
    settings, state = loop.settings, loop.state
    begun = time.monotonic() - state.seconds
    generator = torch.Generator().manual_seed(settings.seed * 100_003 + state.epoch + 1)
    order = batches(loop.data.train.lengths, settings.tokens, generator)
    names = ["loss", *tasks(loop.model)]
    sums = state.sums.to(loop.hardware) if state.step else torch.zeros(len(names), device=loop.hardware).double()
    loop.model.train()
    for batch in loaded(loop.data.train, order[state.step :], loop.hardware):
        done = (state.epoch + (state.step + 0.5) / len(order)) / settings.epochs
        for group in loop.optimizer.param_groups:
            group["lr"] = learning_rate(done, settings.learning_rate, settings.warmup)
        seed = f"{settings.seed} {state.epoch} {state.step}"
        sums += step(loop.model, loop.optimizer, batch, loop.catalog, loop.loss, loop.half, seed)
        state.step += 1
        if time.monotonic() - loop.saved > CHECKPOINT_SECONDS:
            state.sums, state.seconds = sums.cpu(), time.monotonic() - begun
            _save(loop)
    means = dict(zip(names, (sums / len(order)).tolist(), strict=True))
    if not math.isfinite(means["loss"]):
        raise PipelineError(
            f"the loss of epoch {state.epoch + 1} is not finite: lower training.learning_rate "
            f"(now {settings.learning_rate:g}) and train again"
        )
    row = {"epoch": state.epoch + 1, **{f"train_{name}": value for name, value in means.items()}}
    found = {} if loop.last else validate(loop.model, loop.data.validation, loop.catalog, loop.hardware)
    row |= {f"val_{name}": value for name, value in found.items()}
    state.history.append(row | {"lr": loop.optimizer.param_groups[0]["lr"], "seconds": time.monotonic() - begun})
    state.epoch, state.step, state.seconds = state.epoch + 1, 0, 0.0
    if loop.last or found["mrr"] > state.best_mrr:
        state.best, state.best_mrr, state.best_model = state.epoch, found.get("mrr", -1.0), _copy(loop.model)


def _copy(model: Network) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}


def _summary(data: Prepared, model: Network) -> str:
    return (
        f"{model.spec.variant}: {sum(p.numel() for p in model.parameters()):,} parameters, "
        f"{len(data.vocabulary.titles):,} titles ({data.vocabulary.n_seen:,} played), "
        f"{len(data.train):,} rows with {int(data.count_I.sum()):,} training targets, "
        f"{int(data.validation.flat.target_BL.sum()):,} validation targets"
    )


def _line(epochs: int, state: _State) -> str:
    row = state.history[-1]
    line = f"epoch {row['epoch']}/{epochs}  loss {row['train_loss']:.4f}  "
    if "val_mrr" not in row:
        return f"{line}{row['seconds']:.1f} s"
    mark = " *" if state.best == row["epoch"] else ""
    return f"{line}val loss {row['val_loss']:.4f}  val mrr {row['val_mrr']:.4f}  {row['seconds']:.1f} s{mark}"
