"""Compare the labels of stored interactions with those of changed rules. Nothing is written."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from intentrec.contracts import INTERACTIONS
from intentrec.interactions import rules
from intentrec.interactions.build import build_from
from intentrec.storage.warehouse import Warehouse

NONE = "(no rule)"  # label of a visit that no rule matches; the audit of interactions refuses it
ABSENT = "(none)"  # label on the side without the interaction, if sessions or events differ


@dataclass(frozen=True)
class Shift:
    """Interactions by their label and target before and after a change of rules.

    Attributes:
        labels: (stored label, label under the tried rules) -> number of interactions.
        targets: (stored is_target, is_target under the tried rules) -> number of interactions.
    """

    labels: Mapping[tuple[str, str], int]
    targets: Mapping[tuple[bool, bool], int]

    @property
    def before(self) -> Counter[str]:
        """Interactions by stored label."""
        return _total(self.labels, 0)

    @property
    def after(self) -> Counter[str]:
        """Interactions by label under the tried rules."""
        return _total(self.labels, 1)


def shift(stored: DataFrame, tried: DataFrame) -> Shift:
    """Compare two frames of INTERACTIONS rows, matched by key: the stored ones and those of the tried rules."""
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


def preview(warehouse: Warehouse, config: Path) -> Shift:
    """Compare the stored interactions of the run's weeks with those that its domain's rules give for the same events.

    Args:
        warehouse: of a run whose domain holds the rules to try.
        config: path of the domain file, for messages.

    Raises:
        ConfigError: a rule is wrong. The message names file and key.
        PipelineError: the weeks were not built yet.
    """
    run = warehouse.run
    rules.check(warehouse.spark, run.domain, config)
    _, built = build_from(warehouse)
    return shift(warehouse.read(INTERACTIONS, run.start, run.end), built.interactions)


def _total(labels: Mapping[tuple[str, str], int], side: int) -> Counter[str]:
    total: Counter[str] = Counter()
    for pair, count in labels.items():
        total[pair[side]] += count
    return total
