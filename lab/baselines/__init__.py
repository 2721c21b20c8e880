"""The models that IntentRec is compared with: the paper's baselines (§4.1.2) and a control of V4.

Importing this package registers them. Then a spec may name them, `build` makes them, and saved ones can be loaded.
"""

from intentrec.model.build import build
from intentrec.model.network import NetworkBuilder, register
from intentrec.model.spec import Variant
from lab.baselines.bert4rec import Bert4Rec
from lab.baselines.recurrent import Recurrent
from lab.baselines.sasrec import SASRec
from lab.baselines.transact import TransAct
from lab.baselines.transformer import Transformer
from lab.mixture import LatentMixture

_BUILDERS: dict[Variant, NetworkBuilder] = {
    Variant("lstm", "optional", logit_biases=False): Recurrent,
    Variant("gru", "optional"): Recurrent,
    Variant("transformer", "optional", logit_biases=False): Transformer,
    Variant("sasrec", "none"): SASRec,
    Variant("bert4rec", "none", logit_biases=False): Bert4Rec,
    Variant("transact", "optional", logit_biases=False): TransAct,
    Variant("v4mixture", "required", windows=True, hierarchical=True, conditional=True): LatentMixture,
}
__all__ = ["BASELINES", "build"]

BASELINES = ("lstm", "gru", "transformer", "sasrec", "bert4rec", "transact")

for _variant, _builder in _BUILDERS.items():
    register(_variant, _builder)
