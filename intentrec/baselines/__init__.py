"""The systems that IntentRec is compared with, and one way to build any of them, IntentRec included."""

from collections.abc import Callable

from intentrec.model.intentrec import IntentRec
from intentrec.model.network import Network
from intentrec.model.spec import VARIANTS, ModelSpec
from intentrec.model.vocabulary import Vocabulary

_CLASSES: dict[str, Callable[[ModelSpec, Vocabulary], Network]] = dict.fromkeys(VARIANTS, IntentRec)


def build(spec: ModelSpec, vocabulary: Vocabulary) -> Network:
    """The system that the spec's variant names, with fresh weights."""
    return _CLASSES[spec.variant](spec, vocabulary)
