"""Week ahead: from the snapshot at T - 7d, the titles engaged in [T - 7d, T). What the weekly batch serves.

Every system ranks the same titles (those offered at the snapshot) for the same users (in the snapshot, with a target
in the week). A title that could not be offered yet, such as a premiere of that very week, is a miss for every system
and stays in the denominators, for a batch does miss it: `reachable` says how much that is, and `recall_at_10_new` is
the recall of titles less than 7 days old when they were engaged. Where the domain recommends unseen titles only,
wanted and candidate titles are the unseen ones; elsewhere that stricter task is reported as `..._unseen`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from intentrec.evaluation.metrics import CUTS, Floats, Ints, Result, mean, per_user
from intentrec.evaluation.ranking import Ranked, Scorer, rank
from intentrec.evaluation.titles import Histories, Titles

COLD = 5  # a user with at most so many interactions is a cold one
NEW_DAYS = 7.0


@dataclass(frozen=True)
class Wanted:
    """Distinct titles that each user engaged, as pairs sorted by user, and whether they were new then."""

    users: pa.Array
    offsets: Ints
    titles: Ints
    new: NDArray[np.bool_]

    @classmethod
    def of(cls, targets: pa.Table, titles: Titles) -> "Wanted":
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
        """Which of `users` each id is, -1 for one who engaged nothing."""
        found = pc.index_in(user_ids.cast(pa.string()), value_set=self.users)
        return pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64)


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


def week_ahead(
    snapshot: Iterable[pa.RecordBatch],
    targets: pa.Table,
    titles: Titles,
    systems: dict[str, Scorer],
    seen_titles: bool = True,
) -> dict[str, Result]:
    """Metrics of every system over the users of `snapshot` who have a row in `targets`.

    Raises:
        ValueError: no such user.
    """
    wanted = Wanted.of(targets, titles)
    tallies = {name: _Tally() for name in systems}
    users: list[pa.Array] = []
    pair_users, pair_new, pair_seen, pair_reachable, cold = [], [], [], [], []
    count = 0
    for batch in snapshot:
        who = wanted.rows(batch.column(batch.schema.get_field_index("user_id")))
        batch, who = batch.filter(pa.array(who >= 0)), who[who >= 0]
        if not len(who):
            continue
        prefixes = Histories.of(batch, titles)
        sizes = np.diff(wanted.offsets)[who]
        rows = np.repeat(np.arange(len(who)), sizes)
        pairs = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes) + wanted.offsets[who][rows]
        seen = _was_seen(prefixes, rows, wanted.titles[pairs])
        users.append(batch.column(batch.schema.get_field_index("user_id")).cast(pa.string()))
        pair_users.append(rows + count)
        pair_new.append(wanted.new[pairs])
        pair_seen.append(seen)
        pair_reachable.append(wanted.titles[pairs] >= 0)
        cold.append(prefixes.lengths <= COLD)
        everyone = np.arange(len(who))
        for name, scorer in systems.items():
            part = scorer(batch, everyone, prefixes.lengths)
            cuts = () if seen_titles else CUTS  # what is shown is asked of the domain's own task only
            unseen = rank(part, prefixes, rows, wanted.titles[pairs], len(titles), only_unseen=True, cuts=cuts)
            served = rank(part, prefixes, rows, wanted.titles[pairs], len(titles)) if seen_titles else unseen
            tallies[name].add(served, unseen)
        count += len(who)
    if not count:
        raise ValueError("nobody of the snapshot engaged a target in the week after it")
    facts = _Facts(
        pa.concat_arrays(users), *map(np.concatenate, (pair_users, pair_new, pair_seen, pair_reachable, cold))
    )
    return {name: _result(tally, facts, seen_titles) for name, tally in tallies.items()}


@dataclass(frozen=True)
class _Facts:
    """What is the same for every system: users, and per pair whose it is, new, seen before, reachable."""

    users: pa.Array
    pair_users: Ints
    new: NDArray[np.bool_]
    seen: NDArray[np.bool_]
    reachable: NDArray[np.bool_]
    cold: NDArray[np.bool_]


def _was_seen(prefixes: Histories, rows: Ints, wanted: Ints) -> NDArray[np.bool_]:
    """Whether each wanted title is in its user's history; a title that is no candidate counts as unseen."""
    span = 1 + max(int(prefixes.titles.max(initial=0)), int(wanted.max(initial=0)))
    known = prefixes.titles >= 0
    touched = prefixes.rows[known] * span + prefixes.titles[known]
    return np.isin(rows * span + wanted, touched) & (wanted >= 0)


def _result(tally: _Tally, facts: _Facts, seen_titles: bool) -> Result:
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
    metrics["users_cold"] = float((in_task & facts.cold).sum())
    per = {name: values[in_task] for name, values in chosen.items()}
    return Result(metrics, facts.users.filter(pa.array(in_task)), per)
