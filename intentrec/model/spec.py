"""What a model is: the variant, its inputs, its intents and its sizes. Plain data, so that it travels as JSON."""

from dataclasses import asdict, dataclass
from typing import Any

VARIANTS = ("v0", "v1", "v2", "v3")
CONTROLS = ("v0s", "v3oracle")  # for comparison only
BASELINES = ("lstm", "gru", "transformer", "sasrec", "bert4rec", "transact")  # lab.baselines; never published
PLAIN = ("v0", "v0s", "sasrec", "bert4rec")  # predict the next item and no intent
WITH_INTENTS = ("v1", "v2", "v3", "v3oracle")  # are nothing without one
WITH_WINDOWS = ("v3", "v0s", "v3oracle")


@dataclass(frozen=True)
class IntentSpec:
    """One intent head: it predicts `column` of the next interaction.

    `bins` are the inclusive upper bounds that cut a numeric column into the classes `labels`; both are empty for a
    categorical column, whose classes are the tokens of the vocabulary.
    """

    name: str
    column: str
    multi_label: bool = False
    bins: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelSpec:
    """A variant of IntentRec (§4.3 of the paper), or a baseline with the same inputs (§4.1.2).

    v0  next item only: no S_k, no heads
    v1  + intent heads on the item encoder, which the tasks share (simple multi-task learning)
    v2  two encoders in a hierarchy: the predicted intents Z_k enter the item encoder
    v3  + the short-term interest S_k, one for every window of `windows`
    v0s v0 + S_k: what of v3's lift is not the intents'
    v3oracle  v3 that is told the true next intents: what intents could be worth at most

    A baseline has neither windows nor a path for titles that come back or are near. Without any fact among its inputs a
    spec is id-only, as the baselines were in their papers.
    """

    variant: str
    intents: tuple[IntentSpec, ...]
    windows: tuple[str, ...]
    categorical: tuple[str, ...]
    multi_label: tuple[str, ...]
    numeric: tuple[str, ...]
    item_features: tuple[str, ...]
    dim: int = 64
    dim_intent: int = 32
    heads: int = 2
    layers: int = 2
    dropout: float = 0.1
    intent_weight: float = 0.2
    weight_side: str = "k"
    history_path: bool = False
    compatibility: bool = False
    neighbours: int = 0  # near titles that a title raises
    length: int = 50  # of a row at most; only learned positions need to know it
    mask_share: float = 0.2  # BERT4Rec: of the targets that training hides
    recent: int = 100  # TransAct: interactions of its short-term window

    def __post_init__(self) -> None:
        """Refuse combinations that are no model of the paper.

        Raises:
            ValueError: names the combination.
        """
        known = (*VARIANTS, *CONTROLS, *BASELINES)
        if self.variant not in known:
            raise ValueError(f"variant {self.variant!r} is none of {', '.join(known)}")
        if self.intents and self.variant in PLAIN:
            raise ValueError(f"variant {self.variant} has no intent heads")
        if not self.intents and self.variant in WITH_INTENTS:
            raise ValueError(f"variant {self.variant} has at least one intent head")
        if bool(self.windows) != (self.variant in WITH_WINDOWS):
            raise ValueError(f"{', '.join(WITH_WINDOWS)} have at least one short-term window, every other variant none")
        if self.history_path and self.variant in BASELINES:
            raise ValueError(f"variant {self.variant} has no history path")
        if self.neighbours and self.variant in BASELINES:
            raise ValueError(f"variant {self.variant} raises no neighbours")
        if self.compatibility and self.variant not in WITH_INTENTS:
            raise ValueError(f"variant {self.variant} has no intents that could be compatible with a title")
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} is not a multiple of heads {self.heads}")

    @property
    def hierarchical(self) -> bool:
        """Whether predicted intents enter the item encoder."""
        return self.variant in ("v2", "v3", "v3oracle")

    @property
    def oracle(self) -> bool:
        """Whether the true next intents stand in the place of the predicted ones."""
        return self.variant == "v3oracle"

    @property
    def id_only(self) -> bool:
        """Whether titles are all that the model sees of an interaction."""
        return not (self.categorical or self.multi_label or self.numeric or self.item_features)

    @property
    def dim_token(self) -> int:
        """Width of the embedding of a categorical fact that is not the title."""
        return max(8, self.dim // 4)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "ModelSpec":
        """The inverse of `to_dict`, also after a trip through JSON."""
        intents = tuple(
            IntentSpec(**{**intent, "bins": tuple(intent["bins"]), "labels": tuple(intent["labels"])})
            for intent in value["intents"]
        )
        lists = {
            key: tuple(item) for key, item in value.items() if isinstance(item, (list, tuple)) and key != "intents"
        }
        return cls(**{**value, **lists, "intents": intents})
