"""The systems that IntentRec is compared with (§4.1.2), and one way to build any of them, IntentRec included."""

from collections.abc import Callable

from intentrec.model.intentrec import IntentRec
from intentrec.model.network import Network
from intentrec.model.spec import CONTROLS, VARIANTS, ModelSpec
from intentrec.model.vocabulary import Vocabulary
from lab.baselines.bert4rec import Bert4Rec
from lab.baselines.recurrent import Recurrent
from lab.baselines.sasrec import SASRec
from lab.baselines.transact import TransAct
from lab.baselines.transformer import Transformer

_CLASSES: dict[str, Callable[[ModelSpec, Vocabulary], Network]] = {
    **dict.fromkeys((*VARIANTS, *CONTROLS), IntentRec),
    "lstm": Recurrent,
    "gru": Recurrent,
    "transformer": Transformer,
    "sasrec": SASRec,
    "bert4rec": Bert4Rec,
    "transact": TransAct,
}


def build(spec: ModelSpec, vocabulary: Vocabulary) -> Network:
    """The system that the spec's variant names, with fresh weights."""
    return _CLASSES[spec.variant](spec, vocabulary)
