"""Leave-one-out, to compare with published figures: predict each user's last interaction from all earlier ones.

Training sees other users' futures, so this protocol serves only to check that a system reaches what its own paper or
others report. The held-out title is ranked among candidates: the full catalogue, the titles that the user has not
touched, or a sample of these (the SASRec paper). Figures with different candidates cannot be compared.

Shape suffixes: B users, N titles.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from intentrec.evaluation.candidates import Histories, Prefixes, TitleLists, Titles, user_ids
from intentrec.evaluation.metrics import Floats, Ints, Result, mean, pair_ranks, per_event
from intentrec.evaluation.systems import TitleScorer, slices

ROWS = 512  # users encoded at once


class CandidateRule(Protocol):
    """Which titles the held-out one is ranked among."""

    def __call__(self, histories: TitleLists, held_out: Ints, users: pa.Array, count: int) -> NDArray[np.bool_]:
        """Candidates of B users: bool (B, count).

        Args:
            histories: what the users touched before.
            held_out: the held-out title of each, -1 for one that is not a candidate: (B,).
            users: their ids.
            count: number of candidates.
        """
        ...


def everything(histories: TitleLists, held_out: Ints, users: pa.Array, count: int) -> NDArray[np.bool_]:
    """The full catalogue, whatever the user has touched."""
    return np.ones((len(held_out), count), dtype=bool)


def unseen(histories: TitleLists, held_out: Ints, users: pa.Array, count: int) -> NDArray[np.bool_]:
    """The titles that the user has not touched, and the held-out one."""
    return ~histories.seen(count) | _one_hot(held_out, count)


@dataclass(frozen=True)
class Sampled:
    """`negatives` different titles that the user has not touched, drawn uniformly, and the held-out one.

    The draw depends on the seed and the user's id only, so every system ranks the same titles.
    """

    negatives: int = 100
    seed: int = 0

    def __call__(self, histories: TitleLists, held_out: Ints, users: pa.Array, count: int) -> NDArray[np.bool_]:
        """Candidates of B users: bool (B, count)."""
        own = _one_hot(held_out, count)
        allowed_BN = ~histories.seen(count) & ~own
        for allowed_N, user in zip(allowed_BN, users.to_pylist(), strict=True):
            digest = hashlib.blake2b(f"{self.seed}:{user}".encode(), digest_size=8).digest()
            rng = np.random.default_rng(int.from_bytes(digest))
            titles = np.flatnonzero(allowed_N)
            drawn = rng.choice(titles, min(self.negatives, len(titles)), replace=False)
            allowed_N[:] = False
            allowed_N[drawn] = True
        return allowed_BN | own


def leave_one_out(
    sequences: pa.Table,
    held_out: pa.Array,
    titles: Titles,
    systems: Mapping[str, TitleScorer],
    candidates: CandidateRule,
) -> dict[str, Result]:
    """`mrr`, `recall_at_k` (one title is held out, so it is the hit rate) and `ndcg_at_k` of every system.

    Args:
        sequences: a row per user with everything before the held-out interaction.
        held_out: the title of each row's held-out interaction.
        titles: the catalogue.
        systems: that rank `titles`.
        candidates: which titles each held-out one is ranked among.

    Raises:
        ValueError: there is no user, or not one held-out title for each.
    """
    if not len(sequences) or len(sequences) != len(held_out):
        raise ValueError(f"one held-out title per row is needed, got {len(held_out)} for {len(sequences)} rows")
    wanted = titles.index(held_out)
    ranks: dict[str, list[Floats]] = {name: [] for name in systems}
    done = 0
    for batch in sequences.combine_chunks().to_batches(ROWS):
        own = wanted[done : done + len(batch)]
        done += len(batch)
        histories, users = Histories.of(batch, titles), user_ids(batch)
        scores = {name: system.title_scores(Prefixes.whole(batch)) for name, system in systems.items()}
        for i, j in slices(len(batch), len(titles)):
            allowed_BN = candidates(histories.between(i, j), own[i:j], users.slice(i, j - i), len(titles))
            for name, of_system in scores.items():
                scores_BN = np.where(allowed_BN, of_system(i, j), -np.inf)
                ranks[name].append(pair_ranks(scores_BN, np.arange(j - i), own[i:j]))
    who = sequences["user_id"].combine_chunks()
    return {name: _result(np.concatenate(found), who) for name, found in ranks.items()}


def _result(ranks: Floats, users: pa.Array) -> Result:
    values = per_event(ranks)
    metrics = {name: mean(each) for name, each in values.items()}
    return Result(metrics | {"users": float(len(ranks))}, users, values)


def _one_hot(titles: Ints, count: int) -> NDArray[np.bool_]:
    """(B, N): the title of each row; no entry for one that is no candidate."""
    mask = np.zeros((len(titles), count), dtype=bool)
    known = np.flatnonzero(titles >= 0)
    mask[known, titles[known]] = True
    return mask
