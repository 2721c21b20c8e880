"""From the domain file to a model's spec."""

from intentrec.config import COMPARISON, Domain, Intent
from intentrec.model.spec import BASELINES, PLAIN, WITH_INTENTS, WITH_WINDOWS, IntentSpec, ModelSpec

FACTS = ("categorical", "multi_label", "numeric", "item_features")


def model_spec(domain: Domain) -> ModelSpec:
    """The spec of the domain's model section; what a variant does not use is left out."""
    model = domain.model
    chosen = (
        [] if model.variant in PLAIN else [i for i in domain.intents if not model.intents or i.name in model.intents]
    )
    return ModelSpec(
        variant=model.variant,
        intents=tuple(_intent(intent) for intent in chosen),
        windows=tuple(model.windows) if model.variant in WITH_WINDOWS else (),
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
        history_path=model.history_path and model.variant not in BASELINES,
        compatibility=model.compatibility and model.variant in WITH_INTENTS,
        neighbours=0 if model.variant in BASELINES else model.neighbours,
        length=domain.sequences.length,
        mask_share=model.mask_share,
        recent=model.recent,
    )


def with_variant(domain: Domain, variant: str, id_only: bool = False) -> Domain:
    """The same domain with another variant of the model, or a baseline, for comparison.

    Args:
        domain: everything else comes from here.
        variant: one of `intentrec.model.spec.VARIANTS`, `CONTROLS` or `BASELINES`.
        id_only: take every fact away from the inputs, so that titles are all that the model sees.
    """
    model = {**domain.model.model_dump(mode="json"), "variant": variant}
    if id_only:
        model |= {name: [] for name in FACTS}
    return Domain.model_validate({**domain.model_dump(mode="json"), "model": model}, context=COMPARISON)


def _intent(intent: Intent) -> IntentSpec:
    return IntentSpec(intent.name, intent.column, intent.multi_label, tuple(intent.bins), tuple(intent.labels))
