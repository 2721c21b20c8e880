"""From the domain file to the model's spec, to other variants of it, and to a hash of the settings that decide it."""

from intentrec.config import COMPARISON, Domain, Intent, fingerprint
from intentrec.model.spec import IntentSpec, ModelSpec, variant_of

FACTS = ("categorical", "multi_label", "numeric", "item_features")
# Keys of the model section that turn on what the paper does not have (docs/model.md).
PARTS = ("history_path", "decayed_counts", "title_state", "dated_facts", "compatibility", "next_session")
# Sections of the domain file that decide what a model becomes; the gate and the source do not.
SECTIONS = ("domain", "calendar", "sequences", "intents", "model", "training")


def model_spec(domain: Domain) -> ModelSpec:
    """The spec of the domain's model section. What the variant does not use is left out.

    Raises:
        ValueError: the variant is neither the paper's nor registered.
    """
    model = domain.model
    variant = variant_of(model.variant)
    return ModelSpec(
        variant=model.variant,
        intents=() if variant.intents == "none" else tuple(_intent(intent) for intent in domain.model_intents),
        windows=tuple(model.windows) if variant.windows else (),
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
        history_path=model.history_path and variant.logit_biases,
        decayed_counts=model.decayed_counts and variant.logit_biases,
        dated_facts=model.dated_facts and variant.logit_biases,
        title_state=model.title_state and variant.logit_biases,
        next_session=model.next_session and variant.intents == "required",
        compatibility=model.compatibility and variant.logit_biases and variant.intents == "required",
        neighbours=model.neighbours if variant.logit_biases else 0,
        length=domain.sequences.length,
        mask_share=model.mask_share,
        recent=model.recent,
        lead_intent=domain.lead_intent if variant.conditional else "",
        zone=domain.calendar.zone,
    )


def with_variant(domain: Domain, variant: str, id_only: bool = False) -> Domain:
    """The same domain with another variant of the model, for comparison.

    Args:
        domain: everything else comes from here.
        variant: one of the paper's (`intentrec.model.spec.VARIANTS`) or a registered one.
        id_only: take away every fact of the inputs and every part that the paper does not have, so that titles are all
        that the model sees.
    """
    model = {**domain.model.model_dump(mode="json"), "variant": variant}
    if id_only:
        model |= {name: [] for name in FACTS} | dict.fromkeys(PARTS, False) | {"neighbours": 0}
    return Domain.model_validate({**domain.model_dump(mode="json"), "model": model}, context=COMPARISON)


def settings(domain: Domain) -> str:
    """Hash of the settings that decide what a model becomes."""
    chosen = {key: value for key, value in domain.model_dump(mode="json").items() if key in SECTIONS}
    return fingerprint({**chosen, "clusters": domain.publishing.clusters})


def _intent(intent: Intent) -> IntentSpec:
    return IntentSpec(intent.name, intent.column, intent.multi_label, tuple(intent.bins), tuple(intent.labels))
