"""Strict, typed schema of `conf/`: one domain file per data set, one profile per place where the pipeline is used.

The file is long because it is one schema: each section of the YAML is a class here, in the order of the YAML. Unknown
keys are refused. Conditions in Spark SQL can be checked only by Spark: `intentrec.interactions.rules.check` analyses
them before a job writes anything.
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from datetime import date, time, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from intentrec.errors import PipelineError, did_you_mean

PACKAGE = Path(__file__).resolve().parent  # with the files of the wheel: expectations/ and profiles/


def checkout() -> Path | None:
    """The checkout from which this package is imported; None if it is installed as a wheel."""
    return PACKAGE.parent if (PACKAGE.parent / "pyproject.toml").is_file() else None


# The project folder, with conf/, dags/, jobs/ and var/: the checkout, or for an installed package the current folder.
ROOT = checkout() or Path.cwd()

# Columns of a `sequences` row that can be inputs or intents of a model, by type.
CATEGORICAL = ("action_type", "kind", "creator", "language", "surface", "device")
MULTI_LABEL = ("genres",)
NUMERIC = ("duration_s", "release_age_days", "last_fraction")
LABEL_LENGTH = 200  # characters of a label, such as a genre, at most
# Facts of the catalogue that describe a title to the item tower.
ITEM_CATEGORICAL = ("kind", "creator", "language")
OWN = 0o077  # umask of every process: what it writes below the home is for this account only
SIMULATED_MANIFEST = "_simulated.json"  # describes the world in a landing zone that the simulator wrote
VARIANTS = ("v0", "v1", "v2", "v3", "v4")  # see intentrec.model.spec
# Validation context of studies: `model.variant` may name a comparison model, and its builder checks the name.
COMPARISON = "comparison"


def marker_name(file: str) -> str:
    """Name of the file beside a simulated file that says so: it holds the SHA-256 of its bytes, in hex."""
    return f"_{file}.simulated"


class ConfigError(PipelineError):
    """A configuration that cannot be used; the message names the file, the key and what to do."""


_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}


def seconds(text: str) -> int:
    """Seconds in '30m', '1h', '7d' or '2w'.

    Raises:
        ValueError: not of that form, or not positive.
    """
    match = re.fullmatch(r"(-?\d+)([mhdw])", str(text))
    if match is None:
        raise ValueError(f"{text!r} is not a duration such as 30m, 1h, 7d or 2w")
    value = int(match.group(1)) * _UNITS[match.group(2)]
    if value <= 0:
        raise ValueError(f"{text!r} is not positive")
    return value


def _checked_duration(text: str) -> str:
    seconds(text)
    return text


def _clock(value: Any) -> Any:
    # YAML 1.1 reads an unquoted 04:00 as the number 240.
    if isinstance(value, int):
        raise ValueError("write the time of day in quotes, such as '04:00'")
    return value


Duration = Annotated[str, AfterValidator(_checked_duration)]
Clock = Annotated[time, BeforeValidator(_clock)]
# Names become parts of folders, and of names in MLflow, which have at most 250 characters.
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=100)]
Label = Annotated[str, Field(min_length=1, max_length=LABEL_LENGTH)]


class Strict(BaseModel):
    """Base of every section: unknown keys are refused, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


S = TypeVar("S", bound=Strict)


class Source(Strict):
    """Where raw rows come from: a module of `intentrec.sources` and its own options."""

    reader: Name = Field(description="module of `intentrec.sources` that reads the files, such as `jsonl`")
    options: dict[str, str | int | float | bool] = Field(
        {},
        description="`data`: folder of the raw files, else INTENTREC_DATA, else the landing zone; "
        "`package:NAME/FOLDER` is a folder of an installed package",
    )
    max_line_bytes: PositiveInt = Field(
        1_048_576, description="a file with a longer line is refused, so that one line cannot exhaust the memory"
    )


class Calendar(Strict):
    """The service's days and weeks."""

    zone: str = Field("UTC", description="time zone of the service, such as `Europe/London`")
    day_start: Clock = Field(time(4), description="time in `zone` at which a service day starts; write it in quotes")
    session_gap: Duration = Field("30m", description="a session ends after so long without an event")
    lateness: Duration = Field("2d", description="how long after a week's end its rows may still arrive")
    history_start: date = Field(description="first service date of the data, a Monday: weeks begin on it")
    censored_weeks: int = Field(0, ge=0, description="weeks from `history_start` on that have no targets")

    @field_validator("zone")
    @classmethod
    def _known(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            near = did_you_mean(zone, available_timezones())
            raise ValueError(f"{zone!r} is not a time zone{near}; take a name such as Europe/London") from error
        return zone

    @field_validator("history_start")
    @classmethod
    def _monday(cls, day: date) -> date:
        if day.weekday():
            monday = day - timedelta(days=day.weekday())
            raise ValueError(f"{day} is a {day:%A}, and the weekly run covers Monday to Sunday: take {monday}")
        return day


class Events(Strict):
    """Which raw rows are accepted."""

    types: list[Name] = Field(min_length=1, description="values of `event_type` that are accepted")
    play_types: list[Name] = Field(description="types that play (or buy) an item; the others only touch it")
    list_add: Name | None = Field(None, description="type that puts a title on the user's list")
    list_remove: Name | None = Field(None, description="type that takes a title off the list")
    return_type: Name | None = Field(
        None,
        description="type that takes a purchase back: no play, no target, and the title does not count as bought",
    )
    signals: list[Name] = Field([], description="numeric fields of `extra`, summed over a visit")
    quantity: Name = Field(
        "quantity", description="the signal that counts pieces; where negative, only a `return_type` event is accepted"
    )
    max_duration: Duration = Field("12h", description="a longer event is refused")
    max_hours_per_day: PositiveFloat = Field(
        20.0, description="a user with more hours on one service day is taken for a bot: that day is refused"
    )
    max_clock_skew: Duration = Field("1d", description="how far an event may lie after its arrival")
    max_age: Duration = Field("60d", description="how far an event may lie before its arrival")

    @model_validator(mode="after")
    def _known(self) -> "Events":
        twice = sorted({name for name in self.types if self.types.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} is in events.types twice")
        named = [*self.play_types, *filter(None, (self.list_add, self.list_remove, self.return_type))]
        unknown = sorted(set(named) - set(self.types))
        if unknown:
            raise ValueError(f"{', '.join(unknown)} is not in events.types: add it there")
        if self.return_type in self.play_types:
            raise ValueError(f"{self.return_type} is events.return_type, so it cannot be in events.play_types")
        return self

    @property
    def longest_visit(self) -> timedelta:
        """How long after its service date a visit may end, in whole days, because its last event may be long."""
        return timedelta(days=math.ceil(seconds(self.max_duration) / 86_400))


class ActionType(Strict):
    """A rule: a label, and a condition over r (the visit), s (user and title before it) and u (user before it)."""

    name: Name = Field(description="the label")
    when: str = Field(description="Spark SQL condition over `r`, `s` and `u`; the first rule that matches wins")


class Interactions(Strict):
    """How visits are labelled."""

    state_weeks: PositiveInt = Field(52, description="weeks after which a fact of the title state expires")
    finished_fraction: float = Field(
        0.9, gt=0, le=1, description="an item counts as finished from this share of its runtime on"
    )
    target_when: str = Field(
        "true", description="Spark SQL condition over the columns of `interactions`: which of them are targets"
    )
    action_types: list[ActionType] = Field(min_length=1, description="ordered rules, see below")

    @model_validator(mode="after")
    def _distinct(self) -> "Interactions":
        names = [rule.name for rule in self.action_types]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"action type {', '.join(twice)} appears twice")
        return self

    @property
    def rules_version(self) -> str:
        """Hash of the rules and their settings, stored with every label.

        A key that this section got later counts only where it is set to another value than its default. So a new
        version of IntentRec, with a key more, does not make labels look like those of other rules. Such a default must
        never change.
        """
        rules = [rule.model_dump(exclude_defaults=True) for rule in self.action_types]
        first = {"state_weeks", "finished_fraction", "target_when"}  # the keys of the first version always count
        return fingerprint(
            self.model_dump(include=first) | self.model_dump(exclude_defaults=True) | {"action_types": rules}
        )


class DurationWeight(Strict):
    """d_k of Eq. 3: the duration is clipped, transformed and scaled to [floor, 1]."""

    transform: Literal["log1p", "linear", "none"] = Field(
        "log1p", description="how the clipped duration becomes a weight; `none`: every weight is 1"
    )
    clip: Duration = Field("4h", description="this duration and longer ones have weight 1")
    floor: float = Field(0.0, ge=0, le=1, description="smallest weight")
    side: Literal["k", "k+1"] = Field(
        "k", description="whose duration weighs the prediction of interaction k+1: that of k or of k+1"
    )


class Sequences(Strict):
    """The latest n interactions of each active user."""

    length: PositiveInt = Field(50, description="n: interactions of a user that are kept, the latest")
    lookback: Duration = Field("52w", description="older interactions are left out; whole days, at least a week")
    windows: list[Duration] = Field(
        ["1d", "7d", "30d"], min_length=1, description="short-term windows H whose starts are stored"
    )
    weight: DurationWeight = Field(DurationWeight(), description="duration weight d_k, see below")

    @model_validator(mode="after")
    def _whole_days(self) -> "Sequences":
        if seconds(self.lookback) % 86400:
            raise ValueError(f"lookback {self.lookback!r} is not whole days: interactions are kept by service date")
        if seconds(self.lookback) < 7 * 86400:
            raise ValueError(f"lookback {self.lookback!r} is less than a week: sequences would miss new interactions")
        return self


class Intent(Strict):
    """One intent head: predicts `column` of the next interaction."""

    name: Name = Field(description="name of the intent in all tables")
    column: str = Field(
        description=f"what it predicts: one of {', '.join(CATEGORICAL + MULTI_LABEL + NUMERIC)}",
    )
    bins: list[float] = Field([], description="for a numeric column: inclusive upper bounds of its classes, ascending")
    labels: list[Label] = Field([], description="for a numeric column: names of its classes, one more than bins")

    @model_validator(mode="after")
    def _column(self) -> "Intent":
        numeric = self.column in NUMERIC
        if not numeric and self.column not in CATEGORICAL + MULTI_LABEL:
            raise ValueError(f"column {self.column!r} is none of {', '.join(CATEGORICAL + MULTI_LABEL + NUMERIC)}")
        if numeric and not (self.bins and len(self.labels) == len(self.bins) + 1 and self.bins == sorted(self.bins)):
            raise ValueError("a numeric column needs ascending bins and one label more than bins")
        if not numeric and (self.bins or self.labels):
            raise ValueError("bins and labels are for numeric columns")
        return self

    @property
    def multi_label(self) -> bool:
        """Whether an interaction can have several of these labels at once."""
        return self.column in MULTI_LABEL


class Model(Strict):
    """Variant, inputs and sizes of IntentRec."""

    variant: str = Field("v3", description="`v0` to `v3` of the paper, or `v4`; publication needs `v2`, `v3` or `v4`")
    intents: list[Name] = Field([], description="which of the domain's intents to predict; empty: all")
    lead_intent: Name | None = Field(
        None,
        description="V4: the intent with one label given which the item is predicted; none: the first",
    )
    windows: list[Duration] = Field(["7d"], description="H of S_k, V3 and V4; each must be one of `sequences.windows`")
    categorical: list[str] = Field(
        ["action_type", "kind", "surface"], description=f"inputs with one label, of {', '.join(CATEGORICAL)}"
    )
    multi_label: list[str] = Field(["genres"], description=f"inputs with several labels, of {', '.join(MULTI_LABEL)}")
    numeric: list[str] = Field(
        ["duration_s", "release_age_days"], description=f"numeric inputs, of {', '.join(NUMERIC)}"
    )
    item_features: list[str] = Field(
        ["kind", "genres"],
        description=f"catalogue facts in a title's vector, of {', '.join(ITEM_CATEGORICAL + MULTI_LABEL)}",
    )
    dim: PositiveInt = Field(64, description="width of both encoders and of the vectors; a multiple of `heads`")
    dim_intent: PositiveInt = Field(32, description="width of the intent embedding Z_k")
    heads: PositiveInt = Field(2, description="attention heads of a Transformer layer")
    layers: PositiveInt = Field(2, description="layers of each Transformer")
    dropout: float = Field(0.1, ge=0, lt=1, description="share of activations that training drops")
    intent_weight: float = Field(0.2, ge=0, description="λ of Eq. 4: weight of the intent losses")
    history_path: bool = Field(False, description="not in the paper: logit bias for titles of the user's own history")
    decayed_counts: bool = Field(
        False, description="not in the paper: logit bias for the user's own titles by how often and how recently"
    )
    title_state: bool = Field(
        False,
        description="not in the paper: logit bias for the user's own titles by how far they got, and whether they are "
        "finished or listed",
    )
    next_session: bool = Field(
        False,
        description="not in the paper: further heads for the intents of the next session, which are then published",
    )
    dated_facts: bool = Field(
        False,
        description="not in the paper: channels for what is known of a title when the week begins: popularity, release",
    )
    compatibility: bool = Field(
        False, description="not in the paper: logit bias for titles that fit the predicted intents"
    )
    neighbours: int = Field(
        0,
        ge=0,
        description="not in the paper: logit bias for so many neighbours of each of the user's last titles; 0: none",
    )
    mask_share: float = Field(0.2, gt=0, lt=1, description="only for the baseline BERT4Rec: share of targets hidden")
    recent: PositiveInt = Field(100, description="only for the baseline TransAct: length of its short-term window")

    @field_validator("variant")
    @classmethod
    def _known(cls, variant: str, info: ValidationInfo) -> str:
        if variant not in VARIANTS and info.context != COMPARISON:
            raise ValueError(f"{variant!r} is none of {', '.join(VARIANTS)}, which the weekly run can train")
        return variant

    @model_validator(mode="after")
    def _columns(self) -> "Model":
        allowed = {
            "categorical": CATEGORICAL,
            "multi_label": MULTI_LABEL,
            "numeric": NUMERIC,
            "item_features": ITEM_CATEGORICAL + MULTI_LABEL,
        }
        for key, columns in allowed.items():
            wrong = sorted(set(getattr(self, key)) - set(columns))
            if wrong:
                raise ValueError(f"{key}: {', '.join(wrong)} is none of {', '.join(columns)}")
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} is not a multiple of heads {self.heads}")
        return self


class Training(Strict):
    """The weekly training run."""

    weeks: PositiveInt = Field(26, description="weekly snapshots that are read at most")
    validation_days: PositiveInt = Field(2, description="last days before the cut-off, which choose the best epoch")
    refit: bool = Field(
        False, description="train again for the chosen number of epochs, now also on the validation days"
    )
    epochs: PositiveInt = Field(30, description="epochs at most")
    patience: PositiveInt = Field(3, description="epochs without a better validation MRR before training stops")
    tokens: PositiveInt = Field(
        4096, description="batch size in positions, padding included, of all processes together"
    )
    learning_rate: PositiveFloat = Field(1e-3, description="highest learning rate")
    weight_decay: float = Field(0.01, ge=0, description="weight decay of AdamW")
    warmup: float = Field(
        0.1, ge=0, lt=1, description="share of the steps in which the learning rate rises; then it falls as a cosine"
    )
    sampled: int = Field(0, ge=0, description="titles sampled for the softmax of a step; 0: the whole catalogue")
    bf16: bool | Literal["auto"] = Field("auto", description="bfloat16 matrix products; `auto`: on a GPU")
    compile: bool | Literal["auto"] = Field("auto", description="compile the model; `auto`: on a GPU")
    title_start: Literal["random", "covisitation"] = Field(
        "random", description="initial id embeddings; `covisitation`: factors of the titles' co-occurrence"
    )
    permute_intents: bool = Field(False, description="only for studies: the permuted-intent control")
    seed: int = Field(7, description="seed of initial weights, batches and dropout")

    @field_validator("permute_intents")
    @classmethod
    def _only_in_studies(cls, permute: bool, info: ValidationInfo) -> bool:
        if permute and info.context != COMPARISON:
            raise ValueError("only for studies: the weekly model is trained with each user's own intents")
        return permute


NaiveBaseline = Literal["popularity_7d", "repeat_last", "most_frequent", "decayed_frequent", "markov", "item_knn"]


class ItemKnn(Strict):
    """Settings of the naive baseline item-kNN, tuned per domain as the model is."""

    window: PositiveInt = Field(20, description="number of latest interactions whose neighbours are recommended")
    decay: float = Field(0.9, gt=0, le=1, description="weight of an interaction relative to the one after it")
    popularity_exponent: float = Field(
        0.5,
        ge=0,
        le=1,
        description="co-occurrence is divided by each title's total to this power: 0 favours popular titles, "
        "0.5 is the cosine",
    )


class Gate(Strict):
    """When a challenger becomes champion."""

    promotion: Literal["automatic", "reviewed"] = Field(
        "automatic", description="`reviewed`: the gate only recommends, a person approves or rejects"
    )
    metric: Name = Field("ndcg_at_10", description="metric per user that decides, week ahead")
    threshold: float = Field(
        0.0, description="the lower bound of the relative lift over the champion must exceed it (0.01: 1 %)"
    )
    confidence: float = Field(0.95, gt=0.5, lt=1, description="confidence of the bootstrap interval")
    bootstrap: PositiveInt = Field(1000, description="resamples of the paired bootstrap over users")
    naive_baselines: list[NaiveBaseline] = Field(
        ["popularity_7d", "repeat_last", "most_frequent", "decayed_frequent", "item_knn"],
        description="baselines that the challenger must beat",
    )
    item_knn: ItemKnn = Field(ItemKnn(), description="settings of the baseline item-kNN, see below")
    guardrails: dict[Name, float] = Field(
        {}, description="metric: largest relative loss against the champion (`coverage_at_10: 0.5`: half of it)"
    )


class Publishing(Strict):
    """What `publish` writes."""

    active_weeks: PositiveInt = Field(
        4, description="users who were active in so many weeks before the date are served, each by the latest sequence"
    )
    top_k: PositiveInt = Field(20, description="titles recommended to a user")
    naive_baselines: bool = Field(
        False,
        description="whether the best of `gate.naive_baselines` publishes its recommendations where the gate found it "
        "better than the champion, or where there is no champion",
    )
    top_labels: PositiveInt = Field(3, description="labels published per intent, the most probable ones")
    intent_lists: PositiveInt = Field(
        3, description="V4: a user gets a list for so many classes of the lead intent, the likeliest"
    )
    shown_classes: list[str] = Field(
        [], description="V4: classes of the lead intent that make sense as a list; none: all of them"
    )
    clusters: PositiveInt = Field(10, description="k-means clusters of the intent embeddings")
    seen_titles: bool = Field(True, description="whether titles that the user already touched may be recommended")
    known_and_new: bool = Field(
        False, description="`top_k` titles of each: those that the user already touched, and new ones"
    )
    seen_for: Duration | None = Field(
        None,
        description="a title counts as seen for so long after its last visit; default: as long as the title state "
        "knows it (`interactions.state_weeks`)",
    )

    @property
    def tells_known(self) -> bool:
        """Whether the lists of a user depend on which titles the user already touched."""
        return self.known_and_new or not self.seen_titles

    @model_validator(mode="after")
    def _one_choice(self) -> "Publishing":
        if self.known_and_new and not self.seen_titles:
            raise ValueError("known_and_new needs seen_titles: true, because it recommends known titles, too")
        return self


Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)  # as `date.weekday` counts them


class Delivery(Strict):
    """What a whole delivery is: a week beyond a bound is not ingested, unless a person accepts it as partial."""

    open_days: list[Weekday] = Field(
        list(WEEKDAYS), description="days of the week that have at least one accepted event"
    )
    closed_days: list[date] = Field([], description="service dates that may lack events, such as holidays")
    min_accepted: float = Field(
        0.8,
        ge=0,
        le=1,
        description="least share of accepted rows among accepted and quarantined ones, of a week's "
        "events and of a catalogue snapshot",
    )
    weeks: PositiveInt = Field(8, description="weeks before a week whose median is the measure of the bounds below")
    min_events: float = Field(0.5, ge=0, description="least accepted events of a week, as a multiple of the median")
    max_events: PositiveFloat = Field(3.0, description="most accepted events of a week, as a multiple of the median")
    min_items: float = Field(0.8, ge=0, description="least items of a catalogue snapshot, as a multiple of the median")
    max_items: PositiveFloat = Field(3.0, description="most items of a catalogue snapshot, as a multiple of the median")

    @model_validator(mode="after")
    def _ordered(self) -> "Delivery":
        for least, most in (("min_events", "max_events"), ("min_items", "max_items")):
            if getattr(self, least) > getattr(self, most):
                raise ValueError(f"{least} is greater than {most}: no delivery could be whole")
        return self


class Quality(Strict):
    """What a whole delivery is, when drift is a warning, and which weeks may lack events."""

    drift_bound: PositiveFloat = Field(
        0.25, description="a model input drifts where its population stability index exceeds this"
    )
    min_rows: PositiveInt = Field(
        1000, description="rows that a week and its training window each need, or drift is not measured"
    )
    closed_weeks: list[date] = Field(
        [], description="Mondays of the weeks in which the service was closed and has no events"
    )
    delivery: Delivery = Field(Delivery(), description="what a whole delivery is, see below")


class Domain(Strict):
    """One domain file."""

    domain: Name = Field(description="name of the domain, which is the file's name without `.yaml`")
    source: Source
    calendar: Calendar
    events: Events
    interactions: Interactions
    sequences: Sequences = Sequences()
    intents: list[Intent] = Field(min_length=1)
    model: Model = Model()
    training: Training = Training()
    gate: Gate = Gate()
    publishing: Publishing = Publishing()
    quality: Quality = Quality()

    @model_validator(mode="after")
    def _consistent(self) -> "Domain":
        missing = sorted(set(self.model.windows) - set(self.sequences.windows))
        if missing:
            raise ValueError(f"model.windows: {', '.join(missing)} is not in sequences.windows: add it there")
        names = [intent.name for intent in self.intents]
        if len(set(names)) < len(names):
            raise ValueError("intents: two have the same name: rename one")
        unknown = sorted({*self.model.intents, *filter(None, [self.model.lead_intent])} - set(names))
        if unknown:
            raise ValueError(
                f"model.intents, model.lead_intent: {', '.join(unknown)} is not in intents: define it there"
            )
        one_label = [intent.name for intent in self.model_intents if not intent.multi_label]
        if self.model.variant == "v4" and self.lead_intent not in one_label:
            raise ValueError(
                f"model.lead_intent: {self.lead_intent} is no intent of the model with one label: choose another"
            )
        for day in self.quality.closed_weeks:
            if (day - self.calendar.history_start).days % 7:
                raise ValueError(f"quality.closed_weeks: no week counted from calendar.history_start begins on {day}")
        self._require_memory()
        return self

    def _require_memory(self) -> None:
        """Check that the title state remembers as long as a title counts as seen, and as long as sequences do."""
        memory, known_for = self.interactions.state_weeks * 7 * 86400, self.publishing.seen_for
        if known_for is not None and seconds(known_for) > memory:
            raise ValueError(
                f"publishing.seen_for {known_for!r} is longer than the title state remembers: raise "
                f"interactions.state_weeks (now {self.interactions.state_weeks})"
            )
        if not self.publishing.seen_titles and seconds(self.sequences.lookback) > memory:
            raise ValueError(
                f"sequences.lookback {self.sequences.lookback!r} is longer than the title state remembers, so a title "
                "of a sequence could count as unseen (publishing.seen_titles): raise interactions.state_weeks "
                f"(now {self.interactions.state_weeks})"
            )

    @property
    def model_intents(self) -> list[Intent]:
        """The intents that the model predicts."""
        return [each for each in self.intents if not self.model.intents or each.name in self.model.intents]

    @property
    def lead_intent(self) -> str:
        """Name of the intent given which V4 predicts the item."""
        return self.model.lead_intent or self.model_intents[0].name

    @property
    def hash(self) -> str:
        """Fingerprint of all settings of the file."""
        return fingerprint(self.model_dump(mode="json"))

    @property
    def model_name(self) -> str:
        """Name in the model registry."""
        return f"intentrec-{self.domain}"


class Spark(Strict):
    """Spark's master and extra settings."""

    master: str = Field("local[2]", description="Spark's master")
    conf: dict[str, str] = Field({}, description="further Spark settings")


class Profile(Strict):
    """Where the pipeline runs. `{home}` in a value stands for INTENTREC_HOME (default: var/ in the project)."""

    name: Name = Field(description="name of the place")
    warehouse: str = Field(description="folder or Hadoop URI of the tables, which lie in a folder per domain")
    landing: str = Field(description="folder of the landing zones, one per domain")
    reports: str = Field(description="folder of run pages and trend pages")
    work: str = Field(description="folder of checkpoints and other scratch of this machine")
    mlflow: str = Field(description="MLflow's tracking URI")
    mlflow_artifacts: str = Field(description="folder or URI of MLflow's artifacts")
    spark: Spark = Spark()
    threads: PositiveInt | None = Field(None, description="torch threads of a process; default: its share of the cores")
    processes: PositiveInt = Field(1, description="processes that train together, such as one per GPU of the machine")


def fingerprint(value: Any) -> str:
    """First 16 hex digits of the SHA-256 of canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def home() -> Path:
    """INTENTREC_HOME, absolute; by default var/ in the project folder."""
    return Path(os.environ.get("INTENTREC_HOME") or ROOT / "var").resolve()


def load_file(path: str | Path, schema: type[S], substitute: dict[str, str]) -> S:
    """Read a YAML file into a schema.

    Args:
        path: the file.
        schema: the class to read it into.
        substitute: key -> text that replaces `{key}` in the file.

    Raises:
        ConfigError: names the file and every wrong key.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}). Name a file of conf/ with --config.") from error
    for key, value in substitute.items():
        text = text.replace("{" + key + "}", value)
    return parse(text, path, schema)


def parse(text: str, path: Path, schema: type[S]) -> S:
    """Read YAML into a schema.

    Args:
        text: the YAML.
        path: its file, for messages.
        schema: the class to read it into.

    Raises:
        ConfigError: names the file and every wrong key.
    """
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        lines = [
            f"{path}: {'.'.join(map(str, item['loc'])) or '(whole file)'}: {_message(schema, item)}"
            for item in error.errors(include_url=False)
        ]
        raise ConfigError("\n".join(lines)) from error


def _message(schema: type[BaseModel], problem: Mapping[str, Any]) -> str:
    """What is wrong with a key; for an unknown one the nearest key of the same section."""
    if problem["type"] != "extra_forbidden":
        return str(problem["msg"])
    *section, key = problem["loc"]
    models = [schema]
    for name in section:
        inner = [found for model in models for found in _models(model, name)]
        models = inner or models  # the place in a list, or the key of a mapping, stays in its section
    known = [name for model in models for name in model.model_fields]
    return f"no such key{did_you_mean(str(key), known)}"


def _models(model: type[BaseModel], name: Any) -> list[type[BaseModel]]:
    """The sections that a key may hold."""
    field = model.model_fields.get(name)
    parts = [field.annotation] if field else []
    for part in parts:
        parts.extend(get_args(part))
    return [part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)]


def load_domain(path: str | Path) -> Domain:
    """Read and check a domain file. Its name is that of its domain: two files of one domain would share its tables.

    Raises:
        ConfigError: names the file and every wrong key.
    """
    domain = load_file(path, Domain, {})
    if Path(path).name != f"{domain.domain}.yaml":
        raise ConfigError(
            f"{path}: domain: it describes the domain {domain.domain}, so its name must be {domain.domain}.yaml. "
            "Rename the file, or give the domain another name"
        )
    return domain


def domain_folder() -> Path:
    """The folder of the domain files that have DAGs: INTENTREC_CONF, else conf/ in the project folder."""
    return (ROOT / (os.environ.get("INTENTREC_CONF") or "conf")).resolve()


def load_profile(path: str | Path | None = None) -> Profile:
    """Read a profile: `path`, else INTENTREC_PROFILE, else conf/profiles/local.yaml, else that of the package.

    Raises:
        ConfigError: names the file and every wrong key.
    """
    local = ROOT / "conf" / "profiles" / "local.yaml"
    default = local if local.is_file() else PACKAGE / "profiles" / "local.yaml"
    return load_file(path or os.environ.get("INTENTREC_PROFILE") or default, Profile, {"home": str(home())})
