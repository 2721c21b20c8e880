"""A few users as the model sees them, under pseudonyms: what they did last, what it predicts, what it would show."""

import hashlib
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from intentrec.contracts import CATALOG, SEQUENCES
from intentrec.inference.scorer import Scorer, read_files
from intentrec.registry.versions import Registry, Version
from intentrec.storage.runs import Run
from intentrec.training.data import read_catalog, read_sequences
from intentrec.training.inputs import pin

COUNT = 5  # users
LAST = 5  # titles of a history, and of a list


@dataclass(frozen=True)
class Example:
    """One user. Titles are by name where the catalogue has one, oldest or best first."""

    pseudonym: str
    last: list[str]
    intents: dict[str, tuple[str, float]]  # most probable label and its probability
    primary: str
    recommended: list[str]


def examples(run: Run, registry: Registry, version: Version, salt: str | None = None) -> list[Example]:
    """Users of the snapshot as of the run's end, which the version would publish; empty where there is none.

    Args:
        run: whose end is the snapshot's date.
        registry: of the version.
        version: the model to be asked.
        salt: of the pseudonyms, and of the choice of users; drawn anew and thrown away where none is given, so that
            nobody who has a list of user ids can find one of them on the page.
    """
    salt = salt or secrets.token_hex(16)
    snapshot = read_sequences(run.warehouse, pin(run, SEQUENCES), run.end)
    catalog = read_catalog(run.warehouse, pin(run, CATALOG), run.end)
    names = [pseudonym(salt, user) for user in snapshot["user_id"].to_pylist()]
    chosen = sorted(range(len(names)), key=names.__getitem__)[:COUNT]
    if not chosen:
        return []
    users = snapshot.take(pa.array(chosen)).combine_chunks().to_batches()[0]
    with tempfile.TemporaryDirectory() as folder:
        scorer = Scorer(read_files(registry.artifacts(version, Path(folder))), catalog, run.end)
    scored = scorer.score(users, LAST, run.domain.publishing.seen_titles, top_labels=1)
    titles = title_names(catalog)
    histories = users.column(users.schema.get_field_index("title_id")).to_pylist()
    return [
        _example(names[place], history, answer, titles)
        for place, history, answer in zip(chosen, histories, scored.to_pylist(maps_as_pydicts="strict"), strict=True)
    ]


def pseudonym(salt: str, user_id: str) -> str:
    """A name that leads back to the user only for who knows the salt."""
    return hashlib.sha256(f"{salt}\0{user_id}".encode()).hexdigest()[:8]


def title_names(catalog: pa.Table) -> dict[str, str]:
    """The text of each title's latest snapshot, where it has one."""
    rows = catalog.select(["snapshot_date", "title_id", "text"]).sort_by([("snapshot_date", "ascending")])
    return {row["title_id"]: row["text"] for row in rows.to_pylist() if row["text"]}


def _example(name: str, history: list[str], answer: dict[str, Any], titles: dict[str, str]) -> Example:
    labels, probabilities = answer["top_labels"], answer["top_probabilities"]
    return Example(
        name,
        [titles.get(title, title) for title in history[-LAST:]],
        {intent: (found[0], probabilities[intent][0]) for intent, found in labels.items() if found},
        answer["primary_intent"],
        [titles.get(title, title) for title in answer["title_ids"]],
    )
