"""Data sets with published figures: the figures, their protocol, and the settings used to measure them here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.benchmarks.held_out import Histories, read_games, read_movielens
from lab.leave_one_out import CandidateRule, Sampled, everything, unseen


@dataclass(frozen=True)
class PublishedSet:
    """A data set with figures that others published.

    `candidates` says which titles the held-out one is ranked among; the first are those of the published figures.
    `length` is the number of interactions that a model sees, `stride` the number of targets of a row where a history is
    longer. `own` holds settings of single systems: system -> section -> values.
    """

    title: str
    protocol: str
    system: str  # the system of the figures; "best": the best one
    published: Mapping[str, float]
    read: Callable[[Path], Histories]
    candidates: Mapping[str, CandidateRule]
    length: int
    stride: int
    systems: tuple[str, ...]
    model: Mapping[str, Any]
    training: Mapping[str, Any]
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


GAMES = PublishedSet(
    title="Amazon Games, as the SASRec paper has it",
    protocol="The last interaction of each user with at least three, from all before it, against 100 other titles "
    "that the user has not touched, drawn evenly. The published figures are over a random 10,000 of these users; "
    "here over all of them.",
    system="sasrec",
    published={"recall_at_10": 0.7442, "ndcg_at_10": 0.5376},
    read=read_games,
    candidates={"100 sampled": Sampled(100), "unseen": unseen, "everything": everything},
    length=50,
    stride=50,
    systems=("sasrec",),
    model={"dim": 50, "heads": 1, "layers": 2, "dropout": 0.5},
    training={"epochs": 14, "patience": 3, "tokens": 2048, "learning_rate": 0.003, "weight_decay": 0.0},
)

MOVIELENS = PublishedSet(
    title="MovieLens 100K",
    protocol="The last rating of each user, from all before it, against every film (and, beside it, against those "
    "that the user has not rated). Titles are all that a model knows.",
    system="best",
    published={"recall_at_10": 0.1304, "ndcg_at_10": 0.0650},
    read=read_movielens,
    candidates={"everything": everything, "unseen": unseen},
    length=100,
    stride=50,
    systems=("sasrec", "bert4rec", "gru", "lstm", "transformer", "transact", "v0"),
    model={"dim": 64, "heads": 2, "layers": 2, "dropout": 0.2},
    training={"epochs": 40, "patience": 10, "tokens": 2048, "learning_rate": 0.003, "weight_decay": 0.0},
    # In one epoch BERT4Rec learns a fifth of the targets.
    own={"bert4rec": {"training": {"epochs": 120, "patience": 30}}},
)

SETS = {"games": GAMES, "movielens": MOVIELENS}
