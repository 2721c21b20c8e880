"""What a protocol says about one system."""

from dataclasses import dataclass, field

import pyarrow as pa

from intentrec.evaluation.metrics import Floats


@dataclass(frozen=True)
class Result:
    """Metrics by name, and per-user values in the order of `users`, to be compared pairwise with another system's."""

    metrics: dict[str, float]
    users: pa.Array
    per_user: dict[str, Floats] = field(default_factory=dict)
