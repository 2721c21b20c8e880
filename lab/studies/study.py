"""A study file of conf/studies, and the systems of a study: the baselines, IntentRec's variants and V4's controls."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import Field, PositiveInt, model_validator

from intentrec.config import COMPARISON, ROOT, Domain, Strict, fingerprint, load_domain, load_file
from intentrec.errors import PipelineError
from intentrec.training.settings import PARTS
from lab import baselines  # noqa: F401  registers what a study may name
from simulator.settings import World

FOLDER = ROOT / "conf" / "studies"
# A system has the parts of the domain file, or none.
NO_PARTS: dict[str, Any] = {**dict.fromkeys(PARTS, False), "neighbours": 0}
OWN_TITLES = ("history_path", "decayed_counts", "title_state", "compatibility")  # parts with biases of own titles
# Float32 without compilation gives the same sums on every machine, so a study can continue on another one.
ARITHMETIC = {"bf16": False, "compile": False}


class Simulated(Strict):
    """The simulated service that gives the data, for a study without a public data set."""

    world: World
    users: PositiveInt = 1000
    titles: PositiveInt = 1000
    seed: int


class Search(Strict):
    """The hyperparameter search by validation MRR: the same ranges and number of trials for every system."""

    trials: PositiveInt
    learning_rate: tuple[float, float]
    dropout: tuple[float, float]
    weight_decay: tuple[float, float]


class Study(Strict):
    """One data set, the judged week, and the budget of every system."""

    title: str
    domain: str = Field(description="domain file of conf/, without its ending")
    simulated: Simulated | None = None
    start: date = Field(description="first service date of the data")
    end: date = Field(description="service date after the last; the week before it is judged and never trained on")
    seeds: list[int] = Field(min_length=1)
    epochs: PositiveInt
    patience: PositiveInt
    tokens: PositiveInt = 2048
    length: PositiveInt | None = Field(None, description="interactions of a sequence; none: as the domain file says")
    systems: list[str] = Field([], description="the systems to train; none: all")
    model: dict[str, Any] = Field({}, description="keys of the domain's model section, the same for every system")
    search: Search

    @model_validator(mode="after")
    def _weeks(self) -> "Study":
        if (self.end - self.start).days % 7 or (self.end - self.start).days < 14:
            raise ValueError("start to end are whole weeks, two at least: one to learn from and one to judge")
        return self

    def base(self) -> Domain:
        """The settings of the domain file, with the study's first date and sequence length."""
        shipped = load_domain(ROOT / "conf" / f"{self.domain}.yaml")
        calendar = shipped.calendar.model_copy(update={"history_start": self.start})
        domain = shipped.model_copy(update={"calendar": calendar})
        if self.length is None:
            return domain
        return domain.model_copy(update={"sequences": domain.sequences.model_copy(update={"length": self.length})})

    @property
    def hash(self) -> str:
        """Fingerprint of what decides a training beside its settings; these include the sequence length."""
        return fingerprint(self.model_dump(mode="json", exclude={"title", "seeds", "systems", "length"}))


def load_study(name: str, folder: Path = FOLDER) -> Study:
    """Read `name`.yaml.

    Raises:
        PipelineError: there is no such file, or it has wrong keys; the message names them.
    """
    path = folder / f"{name}.yaml"
    if not path.exists():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        raise PipelineError(f"{path}: no such study; there are {known}")
    return load_file(path, Study, {})


@dataclass(frozen=True)
class System:
    """A line of the table: its name, and where its settings differ from the study's common ones."""

    name: str
    label: str
    model: Mapping[str, Any]
    training: Mapping[str, Any] = field(default_factory=dict)
    searched_as: str = ""  # the system whose search it shares: a control has the settings of what it controls

    @property
    def search(self) -> str:
        """Name of the search that gives its settings."""
        return self.searched_as or self.name


def systems(study: Study) -> dict[str, System]:
    """The systems of the study, by name.

    Raises:
        PipelineError: the study names an unknown system, or one without the system whose search it shares.
    """
    known = {system.name: system for system in _all(study)}
    wrong = sorted(set(study.systems) - known.keys())
    if wrong:
        raise PipelineError(f"systems: {', '.join(wrong)}: no such system; there are {', '.join(known)}")
    found = {name: system for name, system in known.items() if not study.systems or name in study.systems}
    alone = [system for system in found.values() if system.search not in found]
    if alone:
        raise PipelineError(f"systems: {alone[0].name} has the settings that {alone[0].search} found: name both")
    return found


def _all(study: Study) -> list[System]:
    """All systems, in the order of the table.

    Baselines stand there as in their papers, GRU and SASRec also with the parts of the domain file. IntentRec's
    variants all have these parts, so that V4 differs from V0 to V3 in the intents alone.
    """
    shipped = study.base().model
    parts = {key: getattr(shipped, key) for key in NO_PARTS}

    def control(name: str, label: str, model: Mapping[str, Any], training: Mapping[str, Any]) -> System:
        return System(name, f"control: V4 {label}", {**parts, "variant": "v4", **model}, training, "v4")

    return [
        System("gru", "GRU", {**NO_PARTS, "variant": "gru"}),
        System("sasrec", "SASRec", {**NO_PARTS, "variant": "sasrec"}),
        System("transact", "TransAct", {**NO_PARTS, "variant": "transact"}),
        System("gru_parts", "GRU + parts", {**parts, "variant": "gru"}),
        System("sasrec_parts", "SASRec + parts", {**parts, "variant": "sasrec"}),
        System("v0", "V0 + parts: next item only", {**parts, "variant": "v0"}),
        System("v1", "V1 + parts: simple multi-task", {**parts, "variant": "v1"}),
        System("v2", "V2 + parts: hierarchical multi-task", {**parts, "variant": "v2"}),
        System("v3", "V3 + parts: the paper's IntentRec", {**parts, "variant": "v3"}),
        System("v4", "V4 + parts: the item given the intent", {**parts, "variant": "v4"}),
        control("v4permuted", "with permuted intents", {}, {"permute_intents": True}),
        control("v4mixture", "as an unsupervised mixture", {"variant": "v4mixture"}, {}),
        control("v4undated", "without dated facts", {"dated_facts": False}, {}),
        control("v4stateless", "without the state of own titles", {"title_state": False}, {}),
        control("v4unbiased", "without biases of own titles", dict.fromkeys(OWN_TITLES, False), {}),
    ]


def domain_of(study: Study, system: System, tuned: Mapping[str, float], seed: int) -> Domain:
    """The domain's settings for one training of a system.

    Args:
        study: gives the budget and the common settings.
        system: what differs.
        tuned: values of what the study searches.
        seed: of the training.
    """
    value = study.base().model_dump(mode="json")
    value["model"] |= {**study.model, "dropout": tuned["dropout"], **system.model}
    value["training"] |= {
        "epochs": study.epochs,
        "patience": study.patience,
        "tokens": study.tokens,
        "learning_rate": tuned["learning_rate"],
        "weight_decay": tuned["weight_decay"],
        "refit": False,
        **ARITHMETIC,
        **system.training,
        "seed": seed,
    }
    return Domain.model_validate(value, context=COMPARISON)
