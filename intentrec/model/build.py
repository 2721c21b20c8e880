"""The network of a spec: the paper's variants, V4, or one that another module registered."""

from intentrec.model.intentrec import IntentRec
from intentrec.model.item_given_intent import ItemGivenIntent
from intentrec.model.network import BUILDERS, Network
from intentrec.model.spec import ModelSpec
from intentrec.model.vocabulary import Vocabulary


def build(spec: ModelSpec, vocabulary: Vocabulary) -> Network:
    """The network with fresh weights."""
    own = ItemGivenIntent if spec.conditional else IntentRec
    return BUILDERS.get(spec.variant, own)(spec, vocabulary)
