"""The distinctive intent of a user: the one whose predicted distribution differs most from everybody's.

Attention (Eq. 2) says how much an intent adds to the intent embedding, which may be nearly the same for all users. Here
the divergence of a user's distribution from the mean over users, KL(p || mean), decides. An intent with many classes
diverges more for everyone, so each intent's divergence is divided by its mean over users.

Shape suffixes: U users, C classes of an intent, M intents.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
LEAST = 1e-12  # of a probability, before its logarithm
NEARLY_EQUAL = 1e-6  # mean divergence of an intent that is predicted alike for all users; it is nobody's


@dataclass(frozen=True)
class Typical:
    """Everybody's intents: by name the mean distribution (C,), and the mean divergence of users from it."""

    mean: dict[str, Floats]
    divergence: dict[str, float]

    @classmethod
    def of(cls, p: Mapping[str, Floats]) -> "Typical":
        """Of U > 0 users' distributions (U, C) by intent. A row of NaN is left out."""
        mean = {name: np.nanmean(p_UC, axis=0) for name, p_UC in p.items()}
        return cls(mean, {name: float(np.nanmean(_divergence(p_UC, mean[name]))) for name, p_UC in p.items()})

    def distances(self, p: Mapping[str, Floats]) -> Floats:
        """Divergence of each user over the mean divergence: (U, M), in the order of `mean`; NaN stays NaN."""
        found = []
        for name, mean_C in self.mean.items():
            usual = self.divergence[name]
            each_U = _divergence(p[name], mean_C)
            found.append(each_U / usual if usual > NEARLY_EQUAL else np.zeros(len(each_U)))
        return np.stack(found, axis=-1)

    def distinctive(self, p: Mapping[str, Floats]) -> Floats:
        """Number of the intent with the largest distance: int (U,); of equals the first."""
        return np.nan_to_num(self.distances(p), nan=-1.0).argmax(axis=-1)

    def save(self, path: Path) -> None:
        """Write as JSON."""
        mean = {name: mean_C.tolist() for name, mean_C in self.mean.items()}
        path.write_text(json.dumps({"mean": mean, "divergence": self.divergence}), encoding="utf-8")

    @classmethod
    def load(cls, text: str | bytes) -> "Typical":
        """The inverse of `save`, from the content of the file."""
        value = json.loads(text)
        return cls({name: np.array(mean) for name, mean in value["mean"].items()}, value["divergence"])


def _divergence(p_UC: Floats, mean_C: Floats) -> Floats:
    """KL(p || mean) of each user: (U,)."""
    p_UC = p_UC.astype(np.float64)
    return (p_UC * (np.log(np.maximum(p_UC, LEAST)) - np.log(np.maximum(mean_C, LEAST)))).sum(axis=-1)
