"""Random histories, the same for every system. Needs numpy only, so that every environment can read them.

Shape suffixes: N interactions of all users in a line, U users, L positions.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

HOUR = 3600  # seconds
SEED = 7


@dataclass(frozen=True)
class Histories:
    """The interactions of all users, one user after another, oldest first."""

    offsets: np.ndarray  # where a user begins, (users + 1,)
    title_N: np.ndarray  # 0 to titles - 1
    second_N: np.ndarray  # from any moment

    def last(self, n: int) -> "Histories":
        """The latest n interactions of each user."""
        kept = np.minimum(np.diff(self.offsets), n)
        offsets = np.concatenate([[0], kept.cumsum()])
        index_N = np.arange(offsets[-1]) + np.repeat(self.offsets[1:] - offsets[1:], kept)
        return Histories(offsets, self.title_N[index_N], self.second_N[index_N])

    def users(self) -> np.ndarray:
        """The user of each interaction."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def save(self, path: Path) -> None:
        """Write a file."""
        np.savez(path, offsets=self.offsets, title_N=self.title_N, second_N=self.second_N)


def load(path: str) -> Histories:
    """The inverse of `Histories.save`."""
    with np.load(path) as file:
        return Histories(file["offsets"], file["title_N"], file["second_N"])


def make(users: int, titles: int, longest: int, mixed: bool) -> Histories:
    """Users who continue with the title's successor half of the time, and with any title otherwise.

    Args:
        users: how many.
        titles: how many there are; every one occurs, where there are enough interactions.
        longest: interactions of a user at most.
        mixed: whether lengths differ (log-normal, median a third of the longest, at least 3) or all are the longest.
    """
    rng = np.random.default_rng(SEED)
    lengths = np.full(users, longest)
    if mixed:
        lengths = rng.lognormal(np.log(longest / 3), 0.8, users).round().astype(int).clip(3, longest)
    title_UL = rng.integers(titles, size=(users, longest))
    follows_UL = rng.random((users, longest)) < 0.5
    for k in range(1, longest):
        title_UL[:, k] = np.where(follows_UL[:, k], (title_UL[:, k - 1] + 1) % titles, title_UL[:, k])
    title_N = title_UL[np.arange(longest) < lengths[:, None]]
    if len(title_N) >= titles:
        title_N[rng.permutation(len(title_N))[:titles]] = np.arange(titles)
    offsets = np.concatenate([[0], lengths.cumsum()])
    position_N = np.arange(len(title_N)) - np.repeat(offsets[:-1], lengths)
    return Histories(offsets, title_N, position_N * HOUR)
