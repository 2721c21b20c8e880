"""Primary intents beside what happened.

What happened has a primary intent, too: the one whose labels of the next session's first target are the rarest among
all users, by the rule of `inference.distinctive`.

Shape suffixes: U users, C labels of an intent.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from intentrec.config import Intent
from intentrec.evaluation.labels import Labels
from intentrec.evaluation.metrics import Floats, mean
from intentrec.inference.distinctive import Typical

KINDS = ("primary_intent", "distinctive_intent")  # by attention (Eq. 2), and by `inference.distinctive`


class PrimaryIntents:
    """Counts predicted primary intents, and labels of what happened."""

    def __init__(self, intents: Sequence[Intent]) -> None:
        self.truths: dict[str, list[list[str]]] = {intent.name: [] for intent in intents}  # labels of each user
        self.guesses: dict[tuple[str, str], list[str]] = defaultdict(list)

    def add(self, users: int, truths: Mapping[str, Labels], guesses: Mapping[str, Mapping[str, pa.Array]]) -> None:
        """Add a batch of users.

        Args:
            users: how many.
            truths: labels of each user's first target, by intent.
            guesses: predicted primary intent of each user, by system and kind.
        """
        for intent, truth in truths.items():
            of_users: list[list[str]] = [[] for _ in range(users)]
            for user, label in zip(truth.at.tolist(), truth.names.to_pylist(), strict=True):
                of_users[user].append(label)
            self.truths[intent] += of_users
        for name, guess in guesses.items():
            for kind, primary in guess.items():
                self.guesses[name, kind] += primary.to_pylist()

    def metrics(self) -> dict[str, dict[str, float]]:
        """By system, none without users: `KIND_agreement` and `KIND_share_of_INTENT`.

        The agreement is the share of users whose primary intent is that of what happened; of the naive baseline
        `majority` it is the share of the commonest one.
        """
        found: dict[str, dict[str, float]] = defaultdict(dict)
        p = {name: _distributions(labels) for name, labels in self.truths.items()}
        p = {name: p_UC for name, p_UC in p.items() if np.isfinite(p_UC).any()}
        if not p:
            return found
        names = list(p)
        truth = [names[number] for number in Typical.of(p).distinctive(p)]
        for kind in KINDS:
            found["majority"][f"{kind}_agreement"] = Counter(truth).most_common(1)[0][1] / len(truth)
        for (name, kind), primary in self.guesses.items():
            found[name][f"{kind}_agreement"] = mean(np.array(primary) == np.array(truth))
            for intent in self.truths:
                found[name][f"{kind}_share_of_{intent}"] = mean(np.array(primary) == intent)
        return found


def _distributions(labels: Sequence[Sequence[str]]) -> Floats:
    """Equal shares of each user's labels: (U, C); NaN for a user without one."""
    place = {label: number for number, label in enumerate(sorted({label for each in labels for label in each}))}
    p_UC = np.full((len(labels), max(1, len(place))), np.nan)
    for user, each in enumerate(labels):
        if each:
            p_UC[user] = 0.0
            p_UC[user, [place[label] for label in each]] = 1 / len(each)
    return p_UC
