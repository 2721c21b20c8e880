"""What changed rules would do to labels, on real interactions and before anything is written."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from intentrec.contracts import INTERACTIONS

NONE = "(no rule)"  # a run that no rule matches; the audit of interactions refuses it
ABSENT = "(none)"  # an interaction that only one side has: the sessions or the events differ


@dataclass(frozen=True)
class Shift:
    """How many interactions go from which label to which, and the same of targets."""

    labels: Mapping[tuple[str, str], int]
    targets: Mapping[tuple[bool, bool], int]

    @property
    def before(self) -> Counter[str]:
        """Interactions by label as they are stored."""
        return _total(self.labels, 0)

    @property
    def after(self) -> Counter[str]:
        """Interactions by label under the rules that were tried."""
        return _total(self.labels, 1)


def shift(stored: DataFrame, tried: DataFrame) -> Shift:
    """Transitions between two frames of interactions, matched by key."""
    sides = [
        frame.select(
            *INTERACTIONS.key,
            F.coalesce("action_type", F.lit(NONE)).alias(f"label_{side}"),
            F.col("is_target").alias(f"target_{side}"),
        )
        for side, frame in (("then", stored), ("now", tried))
    ]
    joined = sides[0].join(sides[1], list(INTERACTIONS.key), "full")
    rows = (
        joined.fillna(ABSENT, ["label_then", "label_now"])
        .fillna(False, ["target_then", "target_now"])
        .groupBy("label_then", "label_now", "target_then", "target_now")
        .count()
        .collect()
    )
    labels: Counter[tuple[str, str]] = Counter()
    targets: Counter[tuple[bool, bool]] = Counter()
    for row in rows:
        labels[row["label_then"], row["label_now"]] += row["count"]
        targets[row["target_then"], row["target_now"]] += row["count"]
    return Shift(labels, targets)


def _total(labels: Mapping[tuple[str, str], int], side: int) -> Counter[str]:
    total: Counter[str] = Counter()
    for pair, count in labels.items():
        total[pair[side]] += count
    return total
