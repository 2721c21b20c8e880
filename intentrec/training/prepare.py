"""Prepare rows of `sequences` for the training loop, in memory that grows with the titles and not with the users.

Three passes. The first chains the weekly rows of each user, a bucket of users at a time, and gathers the vocabulary.
The second writes the encoded rows to files, bucket by bucket. In the third the loop maps these files into memory.

Shape suffixes: N interactions or targets, I titles, D width of a vector, K neighbours of a title.
"""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from intentrec.calendar import WEEK, day_start_of
from intentrec.config import Domain, fingerprint
from intentrec.errors import PipelineError
from intentrec.model.arrow import flat
from intentrec.model.dated_facts import dated_facts
from intentrec.model.features import Encoded, FeatureEncoder, Items
from intentrec.model.logit_bias import NeighbourCounts
from intentrec.model.spec import ModelSpec
from intentrec.model.titles import in_order, last_played, titles_of, with_titles
from intentrec.model.vocabulary import FIRST, Tally, Vocabulary
from intentrec.training import out_of_core
from intentrec.training.cooccurrence import cooccurrence, factors, neighbours
from intentrec.training.out_of_core import SCHEMA, buckets
from intentrec.training.settings import model_spec
from intentrec.training.splits import NothingToTrain, chained, permute_intents, split, validation_start

ABOUT, CATALOG, CHAINED = "about.json", "catalog.safetensors", "chained.arrow"
START, NEIGHBOURS = "start_ID", "neighbours."
TRAIN, VALIDATION = "train", "validation"


@dataclass(frozen=True)
class Prepared:
    """What the training loop reads. Rows are mapped from files."""

    spec: ModelSpec  # with the intents that the rows have labels of
    vocabulary: Vocabulary
    train: Encoded
    validation: Encoded  # no row if no day was held out
    catalog: Items  # the vocabulary's titles, in the order of their indices
    count_I: Tensor  # training targets of each title; int64
    start_ID: Tensor | None  # start of the id embeddings; None for a random start
    neighbours: NeighbourCounts | None  # None for a model without them
    fingerprint: str  # of the rows and of all settings that decide the model
    cutoff: date


def prepare(
    domain: Domain,
    sequences: pa.Table | ds.Dataset,
    catalog: pa.Table,
    title_facts: pa.Table,
    cutoff: date,
    folder: Path,
    held_out: bool = True,
) -> tuple[str, ...]:
    """Write what `load` reads. The previous content of the folder is deleted.

    An intent of which no interaction before the cut-off has a label cannot be learned, and is left out.

    Args:
        domain: its model and training sections decide.
        sequences: rows of several weeks, none after the cut-off.
        catalog: snapshots dated before the cut-off.
        title_facts: rows of `title_facts`, for the dated facts of all weeks of training.
        cutoff: service date from which on nothing is known.
        folder: receives the files.
        held_out: whether the last days are for validation; otherwise training learns from them, too.

    Returns:
        Names of the intents that are left out.

    Raises:
        PipelineError: no interaction has a label of any intent, or all have the duration weight 0.
        NothingToTrain: no row, no training target or, of those held out, no validation target.
        ValueError: rows after the cut-off.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    spec = model_spec(domain)
    begin = validation_start(domain, cutoff) if held_out else day_start_of(cutoff, domain.calendar)
    rows = ds.dataset(sequences) if isinstance(sequences, pa.Table) else sequences
    titles, tally, longest = _chain(rows, titles_of(catalog), cutoff, begin, spec, folder)
    vocabulary = tally.vocabulary(titles)
    spec, left_out = _labelled(spec, tally, begin)
    weeks = [cutoff - WEEK * ago for ago in range(domain.training.weeks, 0, -1)]
    encoder = FeatureEncoder(spec, vocabulary, [day_start_of(week, domain.calendar) for week in weeks])
    ordered = in_order(titles, vocabulary.titles)
    items = encoder.items(ordered)
    parts = {name: out_of_core.Writer(folder / name, _widths(spec, longest)) for name in (TRAIN, VALIDATION)}
    count_I = _encode(domain, encoder, begin, folder, parts)
    _require_targets(parts if held_out else {TRAIN: parts[TRAIN]}, cutoff, begin)
    tensors = {"title_I": items.title_I, "count_I": count_I}
    if spec.dated_facts:
        tensors["dated_IWC"] = dated_facts(ordered, title_facts, weeks)
    tensors |= _counted(domain, spec, out_of_core.read(folder / TRAIN), len(count_I))
    save_file(tensors | {f"tokens.{name}": value for name, value in items.tokens.items()}, folder / CATALOG)
    decides = {"spec": spec.to_dict(), "vocabulary": vocabulary.to_dict()}
    settings = fingerprint({**decides, "training": domain.training.model_dump()}).encode()
    digest = hashlib.sha256(b"".join([settings, *(part.digest.digest() for part in parts.values())]))
    about = {**decides, "fingerprint": digest.hexdigest()[:16], "cutoff": str(cutoff)}
    (folder / ABOUT).write_text(json.dumps(about, ensure_ascii=False), encoding="utf-8")
    return left_out


def _require_targets(parts: Mapping[str, out_of_core.Writer], cutoff: date, begin: datetime) -> None:
    for name, part in parts.items():
        if not part.targets:
            raise NothingToTrain(
                f"no {'training' if name == TRAIN else name} target before {cutoff} in the rows of sequences "
                f"(validation begins {begin:%Y-%m-%d %H:%M} UTC): build more weeks, or change training.validation_days"
            )


def _labelled(spec: ModelSpec, tally: Tally, begin: datetime) -> tuple[ModelSpec, tuple[str, ...]]:
    """The spec with the intents that training has labels of, and the names of the others."""
    left_out = tuple(intent.name for intent in spec.intents if not tally.labelled(intent))
    if left_out and len(left_out) == len(spec.intents):
        raise PipelineError(
            f"no interaction before {begin:%Y-%m-%d %H:%M} UTC has a label of any intent ({', '.join(left_out)}): look "
            "whether the catalogue and the events deliver these columns, or choose other intents in the domain file"
        )
    return replace(spec, intents=tuple(each for each in spec.intents if each.name not in left_out)), left_out


def _encode(
    domain: Domain, encoder: FeatureEncoder, begin: datetime, folder: Path, parts: Mapping[str, out_of_core.Writer]
) -> Tensor:
    """Write the chained rows to the writers of training and validation; training targets of each title (I,)."""
    count_I = torch.zeros(len(encoder.vocabulary.titles), dtype=torch.long)
    for bucket in _stored(folder / CHAINED):
        encoded = encoder.encode(bucket)
        if domain.training.permute_intents:
            encoded = permute_intents(encoded, domain.training.seed)
        train, validation = split(encoded, begin)
        parts[TRAIN].append(train)
        parts[VALIDATION].append(validation)
        title_N = train.flat.title_BL[train.flat.target_BL] - FIRST
        count_I += torch.bincount(title_N, minlength=len(count_I))
    (folder / CHAINED).unlink()
    for part in parts.values():
        part.close()
    return count_I


def _counted(domain: Domain, spec: ModelSpec, train: Encoded, titles: int) -> dict[str, Tensor]:
    """The start of the id embeddings and the neighbours, from co-occurrence; only what domain and spec turn on."""
    start = domain.training.title_start == "covisitation"
    if not (start or spec.neighbours):
        return {}
    counted = cooccurrence(train, titles)
    found = {START: factors(counted, spec.dim, domain.training.seed)} if start else {}
    if spec.neighbours:
        found |= {f"{NEIGHBOURS}{name}": value for name, value in vars(neighbours(counted, spec.neighbours)).items()}
    return found


def load(folder: Path) -> Prepared:
    """What `prepare` wrote; any number of processes may read it."""
    about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    tensors = load_file(folder / CATALOG)
    count_I = tensors.pop("count_I")
    title_I, start_ID = tensors.pop("title_I"), tensors.pop(START, None)
    dated = tensors.pop("dated_IWC", None)
    near = {name.removeprefix(NEIGHBOURS): tensors.pop(name) for name in list(tensors) if name.startswith(NEIGHBOURS)}
    return Prepared(
        ModelSpec.from_dict(about["spec"]),
        Vocabulary.from_dict(about["vocabulary"]),
        out_of_core.read(folder / TRAIN),
        out_of_core.read(folder / VALIDATION),
        Items(title_I, {name.removeprefix("tokens."): value for name, value in tensors.items()}, dated),
        count_I,
        start_ID,
        NeighbourCounts(**near) if near else None,
        about["fingerprint"],
        date.fromisoformat(about["cutoff"]),
    )


def _chain(
    rows: ds.Dataset, titles: pa.Table, cutoff: date, begin: datetime, spec: ModelSpec, folder: Path
) -> tuple[pa.Table, Tally, Counter]:
    """Chain every user's rows into one file, a record batch per bucket.

    Returns:
        All titles with their facts, the tally of the vocabulary, and per column the most labels of an interaction.
    """
    tally, played = Tally(spec), None
    longest: Counter[str] = Counter()
    heaviest = 0.0
    moment = pa.scalar(begin, pa.timestamp("us", "UTC"))
    with pa.ipc.new_file(str(folder / CHAINED), SCHEMA) as file:
        for bucket in buckets(rows, folder):
            if not len(bucket):
                continue
            newest = pc.max(bucket["as_of"]).as_py()
            if newest > cutoff:
                raise ValueError(f"sequences as of {newest} lie after the cut-off {cutoff}")
            chain = chained(bucket).combine_chunks()
            tally.add(chain, pc.less(flat(chain, "end_ts"), moment))
            played = last_played(titles, chain, played)
            heaviest = max(heaviest, pc.max(flat(chain, "weight")).as_py())
            for name in _several(spec):
                longest[name] = max(longest[name], pc.max(pc.list_value_length(flat(chain, name))).as_py())
            file.write_batch(chain.to_batches()[0])
    if played is None:
        raise NothingToTrain(f"no sequences before {cutoff}: build them for the weeks before it")
    if not heaviest:
        raise PipelineError(
            f"every interaction before {cutoff} has the duration weight 0, so there is nothing to learn: deliver "
            "duration_s, leave it out where it is not measured, or set sequences.weight.transform to none"
        )
    return with_titles(titles, played), tally, longest


def _stored(path: Path) -> Iterator[pa.RecordBatch]:
    """The record batches of a file, one at a time."""
    with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as file:
        for i in range(file.num_record_batches):
            yield file.get_batch(i)


def _several(spec: ModelSpec) -> set[str]:
    """Columns in which an interaction may have several labels."""
    used = {*spec.multi_label, *spec.item_features, *(intent.column for intent in spec.intents)}
    return {name for name in used if pa.types.is_list(SCHEMA.field(name).type.value_type)}


def _widths(spec: ModelSpec, longest: Counter) -> dict[str, int]:
    """The width of each tensor with several labels, of all buckets."""
    labels = {f"label.{intent.name}": longest[intent.column] for intent in spec.intents if intent.multi_label}
    return {f"tokens.{name}": longest[name] for name in _several(spec)} | labels
