"""From the domain file to a model's spec."""

from intentrec.config import Domain, Intent
from intentrec.model.spec import IntentSpec, ModelSpec


def model_spec(domain: Domain) -> ModelSpec:
    """The spec of the domain's model section; what a variant does not use is left out."""
    model = domain.model
    chosen = (
        [] if model.variant == "v0" else [i for i in domain.intents if not model.intents or i.name in model.intents]
    )
    return ModelSpec(
        variant=model.variant,
        intents=tuple(_intent(intent) for intent in chosen),
        windows=tuple(model.windows) if model.variant == "v3" else (),
        categorical=tuple(model.categorical),
        multi_label=tuple(model.multi_label),
        numeric=tuple(model.numeric),
        item_features=tuple(model.item_features),
        dim=model.dim,
        dim_intent=model.dim_intent,
        heads=model.heads,
        layers=model.layers,
        dropout=model.dropout,
        intent_weight=model.intent_weight,
        weight_side=domain.sequences.weight.side,
        history_path=model.history_path,
    )


def with_variant(domain: Domain, variant: str) -> Domain:
    """The same domain with another variant of the model, such as v0 for comparison."""
    changed = {**domain.model_dump(mode="json"), "model": {**domain.model.model_dump(mode="json"), "variant": variant}}
    return Domain.model_validate(changed)


def _intent(intent: Intent) -> IntentSpec:
    return IntentSpec(intent.name, intent.column, intent.multi_label, tuple(intent.bins), tuple(intent.labels))
