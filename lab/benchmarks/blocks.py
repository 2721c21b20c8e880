"""What was published, by which protocol, and the settings that it is measured with here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.benchmarks.held_out import Histories, read_games, read_movielens
from lab.leave_one_out import Candidates, everything, sampled, unseen


@dataclass(frozen=True)
class Block:
    """A data set with figures that others published on it."""

    title: str
    protocol: str
    system: str  # what the figures are of; "best" is the best model
    published: Mapping[str, float]
    read: Callable[[Path], Histories]
    candidates: Mapping[str, Candidates]  # that of the figures first
    length: int  # interactions that a model sees at most
    stride: int  # targets of a row where a history is longer
    systems: tuple[str, ...]
    model: Mapping[str, Any]
    training: Mapping[str, Any]
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # system -> section -> what it has otherwise


GAMES = Block(
    title="Amazon Games, as the SASRec paper has it",
    protocol="The last interaction of each user with at least three, from all before it, against 100 other titles "
    "that the user has not touched, drawn evenly. The published figures are over a random 10,000 of these users; "
    "here over all of them.",
    system="sasrec",
    published={"recall_at_10": 0.7442, "ndcg_at_10": 0.5376},
    read=read_games,
    candidates={"100 sampled": sampled(100), "unseen": unseen, "everything": everything},
    length=50,
    stride=50,
    systems=("sasrec",),
    model={"dim": 50, "heads": 1, "layers": 2, "dropout": 0.5},
    training={"epochs": 14, "patience": 3, "tokens": 2048, "learning_rate": 0.003, "weight_decay": 0.0},
)

MOVIELENS = Block(
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
    # One pass asks BERT4Rec for a fifth of the targets.
    own={"bert4rec": {"training": {"epochs": 120, "patience": 30}}},
)

BLOCKS = {"games": GAMES, "movielens": MOVIELENS}
