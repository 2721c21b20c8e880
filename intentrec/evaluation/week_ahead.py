"""Week ahead: from the snapshot at T - 7d, the titles engaged in [T - 7d, T). What the weekly batch serves.

Every system ranks the same titles (those on offer at the snapshot) for the same users (those who are served and have
a target in the week). `users_unserved` counts the users who have a target but are not served. A title that was not on
offer yet, such as a premiere of that week, is a miss for every system. It stays in the denominators, because a weekly
batch does miss it. `reachable` is the share of titles on offer, and `recall_at_10_new` is the recall of titles less
than 7 days old when they were engaged.

Where the domain recommends unseen titles only, relevant and candidate titles are the unseen ones. Elsewhere that
stricter task is reported as `..._unseen`. What a user has seen is the same as in scoring (`inference.seen`).

Shapes: U users, P pairs of a user and a relevant title.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from intentrec.evaluation.candidates import Prefixes, TitleLists, Titles, row_lengths, user_ids
from intentrec.evaluation.metrics import CUTS, Floats, Ints, Result, mean, per_user
from intentrec.evaluation.systems import Ranked, TitleScorer, rank
from intentrec.model.titles import seen_titles as seen_titles_of

COLD = 5  # a user with at most so many interactions is cold
NEW_DAYS = 7.0


@dataclass(frozen=True)
class Relevant:
    """Distinct titles that each user engaged in the week: pairs sorted by user.

    Attributes:
        users: the U users.
        offsets: where each user's pairs begin, and the end of the last: (U + 1,).
        titles: candidate of each pair, -1 for a title that is not on offer: (P,).
        new: whether the title was new when it was engaged: (P,).
    """

    users: pa.Array
    offsets: Ints
    titles: Ints
    new: NDArray[np.bool_]

    @classmethod
    def of(cls, targets: pa.Table, titles: Titles) -> "Relevant":
        """From target interactions with columns user_id, title_id, release_age_days."""
        pairs = targets.group_by(["user_id", "title_id"]).aggregate([("release_age_days", "min")])
        pairs = pairs.sort_by([("user_id", "ascending"), ("title_id", "ascending")]).combine_chunks()
        user_ids = pairs["user_id"].cast(pa.string()).combine_chunks()
        users, starts = np.unique(user_ids.to_numpy(zero_copy_only=False).astype(object), return_index=True)
        age = pairs["release_age_days_min"].to_numpy(zero_copy_only=False).astype(float)
        return cls(
            pa.array(users, pa.string()), np.append(starts, len(pairs)), titles.index(pairs["title_id"]), age < NEW_DAYS
        )

    def rows(self, user_ids: pa.Array) -> Ints:
        """Place of each id among `users`, -1 for one who engaged nothing."""
        found = pc.index_in(user_ids.cast(pa.string()), value_set=self.users)
        return pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64)

    def pairs(self, who: Ints) -> tuple[Ints, Ints]:
        """Of users `who` (places): which of them each pair belongs to, ascending, and the number of the pair."""
        sizes = np.diff(self.offsets)[who]
        rows = np.repeat(np.arange(len(who)), sizes)
        return rows, np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes) + self.offsets[who][rows]


@dataclass
class _Tally:
    """One system's ranks so far: in the domain's own task, and over unseen titles only."""

    ranks: list[Floats] = field(default_factory=list)
    unseen: list[Floats] = field(default_factory=list)
    shown: dict[int, NDArray[np.bool_]] = field(default_factory=dict)

    def add(self, served: Ranked, unseen: Ranked) -> None:
        self.ranks.append(served.ranks)
        self.unseen.append(unseen.ranks)
        for k, mask in served.shown.items():
            self.shown[k] = self.shown.get(k, False) | mask


@dataclass(frozen=True)
class _Facts:
    """Facts that all systems share: users, whether each is cold, and the user and properties of each pair."""

    users: pa.Array
    cold: NDArray[np.bool_]
    pair_users: Ints
    new: NDArray[np.bool_]
    seen: NDArray[np.bool_]
    reachable: NDArray[np.bool_]

    @classmethod
    def joined(cls, parts: Sequence["_Facts"]) -> "_Facts":
        """Batches one after another."""
        begin = np.cumsum([0, *(len(part.users) for part in parts)])
        arrays = [
            np.concatenate([getattr(part, name) for part in parts]) for name in ("cold", "new", "seen", "reachable")
        ]
        pair_users = np.concatenate([part.pair_users + at for part, at in zip(parts, begin, strict=False)])
        cold, new, seen, reachable = arrays
        return cls(pa.concat_arrays([part.users for part in parts]), cold, pair_users, new, seen, reachable)


def week_ahead(
    snapshot: Iterable[pa.RecordBatch],
    targets: pa.Table,
    titles: Titles,
    systems: Mapping[str, TitleScorer],
    seen_titles: bool = True,
) -> dict[str, Result]:
    """Metrics of every system over the users of `snapshot` who have a row in `targets`.

    Args:
        snapshot: a row of `sequences` of each user who is served when the week begins, with the column `titles.SEEN`.
        targets: target interactions of the week: user_id, title_id, release_age_days.
        titles: the candidates: titles on offer when the week begins.
        systems: by name.
        seen_titles: whether the domain recommends titles that the user already touched.

    Raises:
        ValueError: no such user.
    """
    relevant = Relevant.of(targets, titles)
    tallies = {name: _Tally() for name in systems}
    unserved = len(relevant.users)
    facts: list[_Facts] = []
    for batch in snapshot:
        who = relevant.rows(user_ids(batch))
        batch, who = batch.filter(pa.array(who >= 0)), who[who >= 0]
        if not len(who):
            continue
        unserved -= len(who)
        lengths, known = row_lengths(batch), TitleLists.of_lists(seen_titles_of(batch), titles)
        rows, pairs = relevant.pairs(who)
        wanted = relevant.titles[pairs]
        seen = known.holds(rows, wanted)
        facts.append(_Facts(user_ids(batch), lengths <= COLD, rows, relevant.new[pairs], seen, wanted >= 0))
        for name, scorer in systems.items():
            scores = scorer.title_scores(Prefixes.whole(batch))
            cuts = () if seen_titles else CUTS  # coverage is measured in the domain's own task only
            unseen = rank(scores, known, rows, wanted, len(titles), only_unseen=True, cuts=cuts)
            served = rank(scores, known, rows, wanted, len(titles)) if seen_titles else unseen
            tallies[name].add(served, unseen)
    if not facts:
        raise ValueError("no user of the snapshot has a target in the week after it")
    everyone = _Facts.joined(facts)
    return {name: _result(tally, everyone, unserved, seen_titles) for name, tally in tallies.items()}


def _result(tally: _Tally, facts: _Facts, unserved: int, seen_titles: bool) -> Result:
    count = len(facts.users)
    ranks, unseen = np.concatenate(tally.ranks), np.concatenate(tally.unseen)
    fresh = ~facts.seen
    of_unseen = per_user(facts.pair_users[fresh], unseen[fresh], count)
    has_unseen = np.bincount(facts.pair_users[fresh], minlength=count) > 0
    of_all = per_user(facts.pair_users, ranks, count)
    chosen, in_task = (of_all, np.ones(count, bool)) if seen_titles else (of_unseen, has_unseen)
    kept = facts.new if seen_titles else facts.new & fresh
    metrics = {name: mean(values[in_task]) for name, values in chosen.items()}
    for k in CUTS:
        metrics[f"coverage_at_{k}"] = mean(tally.shown[k].astype(float))
    metrics["recall_at_10_new"] = mean((ranks[kept] <= 10).astype(float))
    metrics["ndcg_at_10_cold"] = mean(chosen["ndcg_at_10"][in_task & facts.cold])
    if seen_titles:
        for name in ("ndcg_at_10", "recall_at_10"):
            metrics[f"{name}_unseen"] = mean(of_unseen[name][has_unseen])
    metrics["reachable"] = mean(facts.reachable.astype(float))
    metrics["users"] = float(in_task.sum())
    metrics["users_unserved"] = float(unserved)
    metrics["users_cold"] = float((in_task & facts.cold).sum())
    per = {name: values[in_task] for name, values in chosen.items()}
    return Result(metrics, facts.users.filter(pa.array(in_task)), per)
