"""Every system of the tables: the paper's, its ablations, and the controls that say what a lift is due to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from intentrec.config import COMPARISON, Domain
from intentrec.errors import PipelineError
from intentrec.model.spec import BASELINES, ModelSpec
from intentrec.model.vocabulary import Vocabulary, token_columns
from intentrec.training.spec import model_spec
from lab.baselines import build
from lab.studies.study import Study

# The model section where nothing is added to the paper.
PAPER = {"history_path": False, "compatibility": False, "neighbours": 0}
# The same on every machine, so that a study can go on elsewhere: float32, operation by operation.
ARITHMETIC = {"bf16": False, "compile": False}


@dataclass(frozen=True)
class System:
    """A line of a table: what it has otherwise than the study's common settings."""

    name: str
    label: str
    tables: tuple[str, ...]
    model: Mapping[str, Any]
    training: Mapping[str, Any] = field(default_factory=dict)
    searched_as: str = ""  # the system whose search it shares, where the validation days cannot tell the two apart

    @property
    def search(self) -> str:
        """Name of the search that gives its settings."""
        return self.searched_as or self.name


def systems(study: Study) -> dict[str, System]:
    """Those of the study, by name.

    Raises:
        PipelineError: the study names one that does not exist, or one without the one whose search it shares.
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
    """In the order of the tables.

    History path, compatibility, neighbours and start of the titles are not in the paper: what is shipped has what its
    domain file says, and lines of their own say what compatibility adds to V3, with intents and where they are not
    learnt. What is shipped stands twice: with the validation days held out, as all the others are, and refit with them.
    """
    base = study.base()
    names = {"lstm": "LSTM", "gru": "GRU", "transformer": "Transformer", "sasrec": "SASRec", "bert4rec": "BERT4Rec"}
    names["transact"] = "TransAct"
    found = [System(name, names[name], ("1",), {"variant": name}) for name in BASELINES]
    found += [
        System("v0", "V0: next item only", ("1", "2", "3"), {"variant": "v0"}),
        System("v1", "V1: simple multi-task", ("2",), {"variant": "v1"}),
        System("v2", "V2: hierarchical multi-task", ("2",), {"variant": "v2"}),
        System("v3", "IntentRec (V3)", ("1", "2", "3"), {"variant": "v3"}),
        System("v0s", "control: V0 + S", ("2",), {"variant": "v0s"}),
        System("v0deep", "control: V0 as large as V3", ("2",), {"variant": "v0", "layers": _as_large_as_v3(study)}),
        System("v2free", "control: V2, lambda = 0", ("2",), {"variant": "v2", "intent_weight": 0.0}),
        System(
            "v3strangers", "control: V3, other users' intents", ("2",), {"variant": "v3"}, {"permute_intents": True}
        ),
        System("v3oracle", "bound: V3, told the true next intents", ("2",), {"variant": "v3oracle"}),
        System("v3compatible", "V3 + compatibility", ("2",), {"variant": "v3", "compatibility": True}),
        System(
            "v3compatiblefree",
            "control: V3 + compatibility, lambda = 0",
            ("2",),
            {"variant": "v3", "compatibility": True, "intent_weight": 0.0},
        ),
    ]
    found += [
        System(f"v3only_{intent.name}", f"V3, only {intent.name}", ("3",), {"variant": "v3", "intents": [intent.name]})
        for intent in base.intents
    ]
    shipped = {"variant": base.model.variant, **{key: getattr(base.model, key) for key in PAPER}}
    start = {"title_start": base.training.title_start}
    held_out = ", before its refit" if base.training.refit else ""
    cut = f", but n = {study.length}" if study.resized else ""
    found += [
        System("shipped", f"as shipped (conf/{study.domain}.yaml{cut}){held_out}", ("1", "2"), shipped, start),
        System(
            "shippedrefit",
            "as shipped, refit with the validation days",
            ("1", "2"),
            shipped,
            {**start, "refit": True},
            searched_as="shipped",
        ),
        System("shippedv0", "control: as shipped, but V0", ("2",), {**shipped, "variant": "v0"}, start),
        System("shippedv0s", "control: as shipped, but V0 + S", ("2",), {**shipped, "variant": "v0s"}, start),
        System("shippedv1", "control: as shipped, but V1", ("2",), {**shipped, "variant": "v1"}, start),
        System(
            "shippedoracle",
            "bound: as shipped, told the true next intents",
            ("2",),
            {**shipped, "variant": "v3oracle"},
            start,
        ),
    ]
    return found


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
    """Layers that give V0 at least the parameters of V3, but for those that come with each class of an intent.

    What both embed is the same and cancels.
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
    columns = token_columns(spec)
    return Vocabulary(("a",), 1, dict.fromkeys(columns, ("a",)), dict.fromkeys(spec.numeric, (0.0, 1.0)))
