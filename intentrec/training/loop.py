"""The training loop: AdamW, warm-up and cosine, early stopping on next-event MRR, exact resume after every epoch.

Nothing depends on what ran before in the process: each epoch draws its order and its dropout from (seed, epoch), so a
run that was interrupted ends with the same bits as one that was not.
"""

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import nn

from intentrec.baselines import build
from intentrec.config import Domain, fingerprint
from intentrec.errors import PipelineError
from intentrec.model.arrow import flat
from intentrec.model.features import Encoded, FeatureEncoder, Items
from intentrec.model.loss import LossParts, LossSettings
from intentrec.model.network import Network
from intentrec.model.ranking import ranks
from intentrec.model.titles import in_order, titles_of, with_played_titles
from intentrec.model.vocabulary import FIRST, Vocabulary
from intentrec.training.checkpoint import load_checkpoint, save_checkpoint, save_model
from intentrec.training.data import NothingToTrain, batches, chained, split, validation_start
from intentrec.training.spec import model_spec
from intentrec.training.threads import device

CLIP = 1.0
SCORE_ROWS = 512  # rows scored at once


@dataclass(frozen=True)
class FitResult:
    """A trained model and how it got there."""

    directory: Path  # model.safetensors and model.json, of the best epoch
    history: list[dict[str, float]]  # per epoch: train_*, val_* (losses and mrr), lr, seconds
    best_epoch: int  # counted from 1
    metrics: dict[str, float]  # of the best epoch


@dataclass
class _Setup:
    """All that a fit needs, made once from data and configuration."""

    domain: Domain
    vocabulary: Vocabulary
    train: Encoded
    validation: Encoded
    catalog: Items
    fingerprint: str


def fit(
    domain: Domain,
    sequences: pa.Table,
    catalog: pa.Table,
    cutoff: date,
    out_dir: Path,
    progress: Callable[[str], None] = print,
) -> FitResult:
    """Train the domain's model on stacked weekly rows up to a cut-off.

    Args:
        domain: its model and training sections decide; `intentrec.training.spec.with_variant` changes the variant.
        sequences: rows as `data.read_sequences` gives them, none after the cut-off.
        catalog: rows as `data.read_catalog` gives them, none after the cut-off.
        cutoff: service date from which on nothing is known.
        out_dir: receives `model/` and, while training, a checkpoint from which an interrupted run goes on.
        progress: takes a line per epoch.

    Raises:
        NothingToTrain: no training or no validation target.
        PipelineError: the loss diverged.
        ValueError: rows after the cut-off.
    """
    setup = _prepare(domain, sequences, catalog, cutoff)
    hardware = device()
    with torch.random.fork_rng():
        torch.manual_seed(domain.training.seed)
        model = build(model_spec(domain), setup.vocabulary).to(hardware)
        optimizer = _optimizer(model, domain)
        state = load_checkpoint(out_dir, setup.fingerprint) or _fresh(setup.fingerprint)
        if state["epoch"]:
            progress(f"going on after epoch {state['epoch']}")
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
        progress(_summary(setup, model))
        while state["epoch"] < domain.training.epochs and state["epoch"] - state["best"] < domain.training.patience:
            _epoch(setup, model, optimizer, state, hardware)
            save_checkpoint(out_dir, state)
            progress(_line(domain, state))
    about = {
        "spec": model.spec.to_dict(),
        "vocabulary": setup.vocabulary.to_dict(),
        "calendar": domain.calendar.model_dump(mode="json", include={"zone", "day_start"}),
        "config_hash": domain.hash,
        "cutoff": str(cutoff),
        "fingerprint": setup.fingerprint,
    }
    save_model(out_dir / "model", state["best_model"], about)
    metrics = {name: value for name, value in state["history"][state["best"] - 1].items() if name != "epoch"}
    return FitResult(out_dir / "model", state["history"], state["best"], metrics)


def _prepare(domain: Domain, sequences: pa.Table, catalog: pa.Table, cutoff: date) -> _Setup:
    if len(sequences) == 0:
        raise NothingToTrain(f"no sequences before {cutoff}: build them for the weeks before it")
    newest = max(sequences["as_of"].to_pylist())
    if newest > cutoff:
        raise ValueError(f"sequences as of {newest} lie after the cut-off {cutoff}")
    sequences = chained(sequences)
    spec = model_spec(domain)
    titles = with_played_titles(titles_of(catalog), sequences)
    learned = pc.less(flat(sequences, "end_ts"), pa.scalar(validation_start(domain, cutoff), pa.timestamp("us", "UTC")))
    vocabulary = Vocabulary.fit(sequences, catalog, spec, learned)
    encoder = FeatureEncoder(spec, vocabulary)
    encoded = encoder.encode(sequences)
    train, validation = split(encoded, domain, cutoff)
    items = encoder.items(in_order(titles, vocabulary.titles))
    settings = {"spec": spec.to_dict(), "training": domain.training.model_dump(), "vocabulary": vocabulary.to_dict()}
    digest = hashlib.sha256(fingerprint(settings).encode())
    for part in (train, validation):
        digest.update(part.offsets.numpy().tobytes())
        for tensor in part.flat.tensors():
            digest.update(tensor.numpy().tobytes())
    return _Setup(domain, vocabulary, train, validation, items, digest.hexdigest()[:16])


def _fresh(mark: str) -> dict[str, Any]:
    return {"fingerprint": mark, "epoch": 0, "best": 0, "best_mrr": -1.0, "history": []}


def _optimizer(model: Network, domain: Domain) -> torch.optim.AdamW:
    """AdamW that decays the weights of linear layers only: neither embeddings nor norms nor biases."""
    decayed = {id(module.weight) for module in model.modules() if isinstance(module, nn.Linear)}
    groups = [
        {
            "params": [p for p in model.parameters() if (id(p) in decayed) == decay],
            "weight_decay": domain.training.weight_decay if decay else 0.0,
        }
        for decay in (True, False)
    ]
    return torch.optim.AdamW(groups, lr=domain.training.learning_rate, fused=True)


def _learning_rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """Linear up to the peak, then a cosine down to nothing; steps count from 0."""
    rising = max(1, round(warmup * steps))
    if step < rising:
        return peak * (step + 1) / rising
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def _epoch(
    setup: _Setup, model: Network, optimizer: torch.optim.Optimizer, state: dict[str, Any], hardware: torch.device
) -> None:
    """Train one epoch, validate, and bring the state up to date."""
    clock = time.monotonic()
    settings, epoch = setup.domain.training, state["epoch"]
    torch.manual_seed(settings.seed * 100_003 + epoch + 1)
    generator = torch.Generator().manual_seed(settings.seed * 100_003 + epoch + 1)
    order = list(batches(setup.train.lengths, settings.batch_size, generator))
    catalog = setup.catalog.map(lambda tensor: tensor.to(hardware))
    model.train()
    totals: dict[str, float] = {}
    for place, rows in enumerate(order):
        step = epoch * len(order) + place
        rate = _learning_rate(step, settings.epochs * len(order), settings.learning_rate, settings.warmup)
        for group in optimizer.param_groups:
            group["lr"] = rate
        batch = setup.train.pad(rows).map(lambda tensor: tensor.to(hardware))
        parts = model.loss(batch, catalog, LossSettings())
        optimizer.zero_grad(set_to_none=True)
        loss = parts.loss()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        for name, value in {"loss": loss, **parts.means()}.items():
            totals[name] = totals.get(name, 0.0) + float(value.detach()) / len(order)
    if not math.isfinite(totals["loss"]):
        raise PipelineError(
            f"the loss of epoch {epoch + 1} is no finite number: lower training.learning_rate "
            f"(now {settings.learning_rate:g}) and train again"
        )
    found = validate(model, setup.validation, catalog, settings.chunk, hardware)
    row = {"epoch": epoch + 1, **{f"train_{name}": value for name, value in totals.items()}}
    row |= {f"val_{name}": value for name, value in found.items()}
    row |= {"lr": rate, "seconds": time.monotonic() - clock}
    state["history"].append(row)
    state["epoch"] = epoch + 1
    state["model"] = _copy(model)
    state["optimizer"] = optimizer.state_dict()
    if found["mrr"] > state["best_mrr"]:
        state |= {"best": epoch + 1, "best_mrr": found["mrr"], "best_model": state["model"]}


@torch.inference_mode()
def validate(model: Network, encoded: Encoded, catalog: Items, chunk: int, hardware: torch.device) -> dict[str, float]:
    """Losses (Eq. 3 and 4) and unweighted next-event MRR over the encoded targets, full catalogue."""
    model.eval()
    item_ID = model.item_vectors(catalog)
    found: list[torch.Tensor] = []
    parts: list[LossParts] = []
    for rows in batches(encoded.lengths, SCORE_ROWS, None):
        batch = encoded.pad(rows).map(lambda tensor: tensor.to(hardware))
        row_N, k_N = batch.questions()
        answer = model.at(batch, row_N, k_N)
        found.append(ranks(answer.h_ND, item_ID, batch.title_BL[row_N, k_N + 1] - FIRST, chunk))
        parts.append(model.answer_loss(answer, batch, row_N, k_N, catalog, LossSettings()))
    whole = sum(parts[1:], parts[0])
    losses = {name: float(value) for name, value in {"loss": whole.loss(), **whole.means()}.items()}
    return {**losses, "mrr": float((1 / torch.cat(found)).mean())}


def _copy(model: Network) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}


def _summary(setup: _Setup, model: Network) -> str:
    return (
        f"{model.spec.variant}: {sum(p.numel() for p in model.parameters()):,} parameters, "
        f"{len(setup.vocabulary.titles):,} titles ({setup.vocabulary.n_seen:,} played), "
        f"{len(setup.train):,} rows with {int(setup.train.flat.target_BL.sum()):,} training targets, "
        f"{int(setup.validation.flat.target_BL.sum()):,} validation targets"
    )


def _line(domain: Domain, state: dict[str, Any]) -> str:
    row = state["history"][-1]
    mark = " *" if state["best"] == row["epoch"] else ""
    return (
        f"epoch {row['epoch']}/{domain.training.epochs}  loss {row['train_loss']:.4f}  "
        f"val loss {row['val_loss']:.4f}  val mrr {row['val_mrr']:.4f}  {row['seconds']:.1f} s{mark}"
    )
