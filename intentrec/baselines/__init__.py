"""The systems that IntentRec is compared with (§4.1.2), and one way to build any of them, IntentRec included."""

from collections.abc import Callable

from intentrec.baselines.bert4rec import Bert4Rec
from intentrec.baselines.recurrent import Recurrent
from intentrec.baselines.sasrec import SASRec
from intentrec.baselines.transact import TransAct
from intentrec.baselines.transformer import Transformer
from intentrec.model.intentrec import IntentRec
from intentrec.model.network import Network
from intentrec.model.spec import CONTROLS, VARIANTS, ModelSpec
from intentrec.model.vocabulary import Vocabulary

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
