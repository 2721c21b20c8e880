"""What a model is: its variant, inputs, intents and sizes. Plain data, so that it travels as JSON."""

from dataclasses import asdict, dataclass
from typing import Any, Literal


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
class Variant:
    """Which parts the models of a variant have."""

    name: str
    intents: Literal["none", "optional", "required"]  # intent heads
    windows: bool = False  # the short-term interest S_k, for at least one window
    hierarchical: bool = False  # the predicted intents Z_k enter the item encoder
    logit_biases: bool = True  # whether history path, decayed counts, neighbours and compatibility may be added
    conditional: bool = False  # the next item is predicted given each class of the lead intent


_VARIANTS: dict[str, Variant] = {
    "v0": Variant("v0", "none"),
    "v1": Variant("v1", "required"),
    "v2": Variant("v2", "required", hierarchical=True),
    "v3": Variant("v3", "required", windows=True, hierarchical=True),
    "v4": Variant("v4", "required", windows=True, hierarchical=True, conditional=True),  # item_given_intent
}
VARIANTS = tuple(_VARIANTS)[:4]  # the paper's own (§4.3)


def add_variant(variant: Variant) -> None:
    """Make another variant known. `network.register` calls this.

    Raises:
        ValueError: another one has this name.
    """
    if _VARIANTS.setdefault(variant.name, variant) != variant:
        raise ValueError(f"there is another variant {variant.name!r}")


def variant_of(name: str) -> Variant:
    """The variant of this name: the paper's, or a registered one.

    Raises:
        ValueError: there is none.
    """
    if name not in _VARIANTS:
        raise ValueError(f"variant {name!r} is none of {', '.join(_VARIANTS)}")
    return _VARIANTS[name]


@dataclass(frozen=True)
class ModelSpec:
    """A variant of IntentRec (§4.3 of the paper), or another registered model with the same inputs.

    v0  next item only: no S_k, no heads
    v1  + intent heads on the item encoder, which the tasks share (simple multi-task learning)
    v2  two encoders in a hierarchy: the predicted intents Z_k enter the item encoder
    v3  + the short-term interest S_k, one for every window of `windows`
    v4  not in the paper: + the next item is predicted given each class of `lead_intent`

    A spec without any fact among its inputs is id-only: titles are all that the model sees of an interaction.
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
    decayed_counts: bool = False
    compatibility: bool = False
    dated_facts: bool = False
    title_state: bool = False
    next_session: bool = False
    neighbours: int = 0  # nearest titles per title that get a logit bias; 0: none
    length: int = 50  # longest row; only learned positions need it
    mask_share: float = 0.2  # BERT4Rec: share of the targets that training hides
    recent: int = 100  # TransAct: interactions of its short-term window
    lead_intent: str = ""  # the intent whose classes the item is conditioned on; conditional variants only
    zone: str = "UTC"  # the service's time zone, for hour and weekday; models of before it was kept use UTC

    def __post_init__(self) -> None:
        """Refuse combinations that no variant has.

        Raises:
            ValueError: names the combination.
        """
        variant = variant_of(self.variant)
        if self.intents and variant.intents == "none":
            raise ValueError(f"variant {self.variant} has no intent heads")
        if not self.intents and variant.intents == "required":
            raise ValueError(f"variant {self.variant} has at least one intent head")
        if bool(self.windows) != variant.windows:
            needed = "at least one short-term window" if variant.windows else "no short-term window"
            raise ValueError(f"variant {self.variant} has {needed}")
        if not variant.logit_biases and (
            self.history_path or self.decayed_counts or self.title_state or self.dated_facts or self.neighbours
        ):
            raise ValueError(f"variant {self.variant} has no logit biases and no facts of titles beside their vectors")
        lead = [intent for intent in self.intents if intent.name == self.lead_intent]
        if bool(lead) != variant.conditional or any(intent.multi_label for intent in lead):
            needed = "a lead intent, one of its intents with one label" if variant.conditional else "no lead intent"
            raise ValueError(f"variant {self.variant} has {needed}; {self.lead_intent!r} does not fit")
        if self.compatibility and not (variant.logit_biases and variant.intents == "required"):
            raise ValueError(f"variant {self.variant} has no intents that could be compatible with a title")
        if self.next_session and not self.intents:
            raise ValueError(f"variant {self.variant} has no intents of the next session")
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} is not a multiple of heads {self.heads}")

    @property
    def hierarchical(self) -> bool:
        """Whether predicted intents enter the item encoder."""
        return variant_of(self.variant).hierarchical

    @property
    def conditional(self) -> bool:
        """Whether the next item is predicted given each class of the lead intent."""
        return variant_of(self.variant).conditional

    @property
    def own_titles(self) -> bool:
        """Whether titles of the user's own history have logit biases."""
        return self.history_path or self.decayed_counts or self.title_state or self.compatibility

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
