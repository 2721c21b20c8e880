"""A study file of conf/studies, and the systems of a study: the paper's, its ablations, controls and upper bounds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import Field, PositiveInt, model_validator

from intentrec.config import COMPARISON, ROOT, Domain, Strict, fingerprint, load_domain, load_file
from intentrec.errors import PipelineError
from intentrec.model.spec import ModelSpec
from intentrec.model.vocabulary import Vocabulary, token_columns
from intentrec.training.settings import model_spec
from lab.baselines import BASELINES, build
from simulator.settings import World

FOLDER = ROOT / "conf" / "studies"
# The model section of what the paper describes: none of this project's additions.
PARTS = ("history_path", "decayed_counts", "title_state", "popularity", "dated_facts", "compatibility", "next_session")
PAPER: dict[str, Any] = {**dict.fromkeys(PARTS, False), "neighbours": 0}
# Float32 without compilation gives the same sums on every machine, so a study can continue on another one.
ARITHMETIC = {"bf16": False, "compile": False}
LABELS = {
    "lstm": "LSTM",
    "gru": "GRU",
    "transformer": "Transformer",
    "sasrec": "SASRec",
    "bert4rec": "BERT4Rec",
    "transact": "TransAct",
}


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
        shipped = self._shipped()
        calendar = shipped.calendar.model_copy(update={"history_start": self.start})
        domain = shipped.model_copy(update={"calendar": calendar})
        if self.length is None:
            return domain
        return domain.model_copy(update={"sequences": domain.sequences.model_copy(update={"length": self.length})})

    @property
    def resized(self) -> bool:
        """Whether sequences have another length here than in the domain file."""
        return self.length not in (None, self._shipped().sequences.length)

    def _shipped(self) -> Domain:
        return load_domain(ROOT / "conf" / f"{self.domain}.yaml")

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
    """A line of a table: its name, and where its settings differ from the study's common ones."""

    name: str
    label: str
    tables: tuple[str, ...]  # numbers of the paper's tables that show it
    model: Mapping[str, Any]
    training: Mapping[str, Any] = field(default_factory=dict)
    searched_as: str = ""  # the system whose search it shares, where validation cannot tell the two apart

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
    """All systems, in the order of the tables."""
    found = [System(name, LABELS[name], ("1",), {"variant": name}) for name in BASELINES]
    return [*found, *_of_the_paper(study), *_as_shipped(study)]


def _of_the_paper(study: Study) -> list[System]:
    """The paper's model and its ablations; beside them controls, upper bounds, and V3 with compatibility.

    The history path, compatibility, neighbours and the start of the title vectors are not in the paper.
    """
    compatible = {"variant": "v3", "compatibility": True}
    found = [
        System("v0", "V0: next item only", ("1", "2", "3"), {"variant": "v0"}),
        System("v1", "V1: simple multi-task", ("2",), {"variant": "v1"}),
        System("v2", "V2: hierarchical multi-task", ("2",), {"variant": "v2"}),
        System("v3", "IntentRec (V3)", ("1", "2", "3"), {"variant": "v3"}),
        System("v0s", "control: V0 + S", ("2",), {"variant": "v0s"}),
        System("v0deep", "control: V0 as large as V3", ("2",), {"variant": "v0", "layers": _as_large_as_v3(study)}),
        System("v2free", "control: V2, lambda = 0", ("2",), {"variant": "v2", "intent_weight": 0.0}),
        System("v3permuted", "control: V3, permuted intents", ("2",), {"variant": "v3"}, {"permute_intents": True}),
        System("v3oracle", "upper bound: V3 given the true next intents", ("2",), {"variant": "v3oracle"}),
        System("v3compatible", "V3 + compatibility", ("2",), compatible),
        System(
            "v3compatiblefree", "control: V3 + compatibility, lambda = 0", ("2",), {**compatible, "intent_weight": 0.0}
        ),
    ]
    single = [
        System(f"v3only_{intent.name}", f"V3, only {intent.name}", ("3",), {"variant": "v3", "intents": [intent.name]})
        for intent in study.base().intents
    ]
    return [*found, *single]


def _as_shipped(study: Study) -> list[System]:
    """The model of the domain file, once with the validation days held out as for all others, and once refit with them.

    Controls have the same additions and another variant.
    """
    base = study.base()
    shipped = {"variant": base.model.variant, **{key: getattr(base.model, key) for key in PAPER}}
    start = {"title_start": base.training.title_start}
    held_out = ", before its refit" if base.training.refit else ""
    cut = f", but n = {study.length}" if study.resized else ""
    label, refit = f"as shipped (conf/{study.domain}.yaml{cut}){held_out}", "as shipped, refit with the validation days"
    controls = [
        System(f"shipped{variant}", f"control: as shipped, but {name}", ("2",), {**shipped, "variant": variant}, start)
        for variant, name in (("v0", "V0"), ("v0s", "V0 + S"), ("v1", "V1"))
    ]
    oracle = "upper bound: as shipped, given the true next intents"
    return [
        System("shipped", label, ("1", "2"), shipped, start),
        System("shippedrefit", refit, ("1", "2"), shipped, {**start, "refit": True}, searched_as="shipped"),
        *controls,
        System("shippedoracle", oracle, ("2",), {**shipped, "variant": "v3oracle"}, start),
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
    value["model"] |= {**PAPER, **study.model, "dropout": tuned["dropout"], **system.model}
    value["training"] |= {
        "epochs": study.epochs,
        "patience": study.patience,
        "tokens": study.tokens,
        "learning_rate": tuned["learning_rate"],
        "weight_decay": tuned["weight_decay"],
        "title_start": "random",
        "refit": False,
        **ARITHMETIC,
        **system.training,
        "seed": seed,
    }
    return Domain.model_validate(value, context=COMPARISON)


def _as_large_as_v3(study: Study) -> int:
    """The number of layers that gives V0 at least as many parameters as V3.

    Parameters for the classes of an intent do not count. What both embed is the same and cancels.
    """
    value = study.base().model_dump(mode="json")

    def size(variant: str, layers: int | None = None) -> int:
        model = {**value["model"], **PAPER, **study.model, "variant": variant}
        model |= {} if layers is None else {"layers": layers}
        spec = model_spec(Domain.model_validate({**value, "model": model}, context=COMPARISON))
        return sum(parameter.numel() for parameter in build(spec, _smallest(spec)).parameters())

    layers = 1
    while size("v0", layers) < size("v3"):
        layers += 1
    return layers


def _smallest(spec: ModelSpec) -> Vocabulary:
    """A vocabulary of one token per column."""
    columns = token_columns(spec)
    return Vocabulary(("a",), 1, dict.fromkeys(columns, ("a",)), dict.fromkeys(spec.numeric, (0.0, 1.0)))
