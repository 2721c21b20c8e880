"""The models that IntentRec is compared with: the paper's baselines (§4.1.2) and two controls.

Importing this package registers them. Then a spec may name them, `build` makes them, and saved ones can be loaded.
"""

from intentrec.model.build import build
from intentrec.model.intentrec import IntentRec
from intentrec.model.network import NetworkBuilder, register
from intentrec.model.spec import Variant
from lab.baselines.bert4rec import Bert4Rec
from lab.baselines.recurrent import Recurrent
from lab.baselines.sasrec import SASRec
from lab.baselines.transact import TransAct
from lab.baselines.transformer import Transformer
from lab.oracle import OracleIntentRec

_BUILDERS: dict[Variant, NetworkBuilder] = {
    Variant("lstm", "optional", logit_biases=False): Recurrent,
    Variant("gru", "optional", logit_biases=False): Recurrent,
    Variant("transformer", "optional", logit_biases=False): Transformer,
    Variant("sasrec", "none", logit_biases=False): SASRec,
    Variant("bert4rec", "none", logit_biases=False): Bert4Rec,
    Variant("transact", "optional", logit_biases=False): TransAct,
    Variant("v0s", "none", windows=True): IntentRec,  # V0 + S_k: the part of V3's lift that is not due to intents
    Variant("v3oracle", "required", windows=True, hierarchical=True): OracleIntentRec,  # V3 given the true next intents
}
__all__ = ["BASELINES", "CONTROLS", "build"]

BASELINES = tuple(variant.name for variant in _BUILDERS if not variant.logit_biases)
CONTROLS = tuple(variant.name for variant in _BUILDERS if variant.logit_biases)

for _variant, _builder in _BUILDERS.items():
    register(_variant, _builder)
