"""What the baselines share: the input, the tied titles at the output, and the intent heads.

In their papers the baselines see titles only (an id-only spec): the title's vector times sqrt(dim), and a learned
position where the paper has one. With facts among its inputs a baseline sees what IntentRec-V0 sees, in the same form:
F_k through a fully connected layer and normalisation, and the time in place of the position. A title's vector then has
the tower's part, too, at the input and at the output.

Shape suffixes: B rows, L positions, D width (dim), I titles. Position k, from 0, predicts interaction k + 1.
"""

from abc import abstractmethod

from torch import Tensor, nn

from intentrec.model.embeddings import InputFeatures, TitleEmbedding
from intentrec.model.encoder import AgoBias, TimeEmbedding, ago_buckets, causal_mask, seen
from intentrec.model.features import Batch, Items
from intentrec.model.network import Network, Output
from intentrec.model.spec import ModelSpec
from intentrec.model.vocabulary import Vocabulary


class Inputs(nn.Module):
    """The embedding of an interaction: what it was, and when."""

    def __init__(self, spec: ModelSpec, vocabulary: Vocabulary, positions: bool) -> None:
        super().__init__()
        self.scale = spec.dim**0.5
        self.features: InputFeatures | None = None
        self.time: TimeEmbedding | None = None
        self.position: nn.Embedding | None = None
        if not spec.id_only:
            self.features = InputFeatures(spec, vocabulary)
            self.reduce = nn.Sequential(nn.Linear(self.features.dim, spec.dim), nn.LayerNorm(spec.dim))
            self.time = TimeEmbedding(spec.dim, gap=True)
        elif positions:
            self.position = nn.Embedding(spec.length, spec.dim)
            nn.init.normal_(self.position.weight, std=0.02)

    def what(self, title_BLD: Tensor, batch: Batch) -> Tensor:
        """(B, L, D)."""
        if self.features is None:
            return title_BLD * self.scale
        return self.reduce(self.features(title_BLD, batch))

    def when(self, batch: Batch) -> Tensor | float:
        """(B, L, D) or (L, D), counted from the row's start; 0 for a baseline without time and position.

        Raises:
            ValueError: rows are longer than the spec says.
        """
        if self.time is not None:
            return self.time(batch)
        if self.position is None:
            return 0.0
        width = batch.title_BL.shape[1]
        if width > self.position.num_embeddings:
            raise ValueError(f"rows of {width} interactions; the model has {self.position.num_embeddings} positions")
        return self.position.weight[:width]


class CausalMask(nn.Module):
    """What attention sees: what it is given, or everything up to k. With facts, by how long ago it was, as in V0."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.ago = None if spec.id_only else AgoBias(spec.heads)

    def forward(self, batch: Batch, allowed_BLL: Tensor | None = None) -> Tensor | None:
        """A mask for `transformer.Attention`."""
        if self.ago is None:
            return None if allowed_BLL is None else allowed_BLL.unsqueeze(0)
        return self.ago(seen(ago_buckets(batch.time_BL), causal_mask(batch) if allowed_BLL is None else allowed_BLL))


class Baseline(Network):
    """A causal baseline: `encode`, then a fully connected layer up to the tied title vectors, and one per intent."""

    def __init__(self, spec: ModelSpec, vocabulary: Vocabulary, positions: bool) -> None:
        super().__init__(spec)
        self.titles = TitleEmbedding(spec, vocabulary)
        self.inputs = Inputs(spec, vocabulary, positions)
        self.dropout = nn.Dropout(spec.dropout)
        self.to_item: nn.Module = nn.Linear(spec.dim, spec.dim)
        self.heads = nn.ModuleList(nn.Linear(spec.dim, len(vocabulary.labels(intent))) for intent in spec.intents)

    @abstractmethod
    def encode(self, batch: Batch) -> Tensor:
        """The encoding of the row up to interaction k: (B, L, D)."""

    def embed(self, batch: Batch) -> Tensor:
        """Interactions as the encoder reads them: (B, L, D)."""
        title_BLD = self.titles(batch.title_BL, batch.tokens)
        return self.dropout(self.inputs.what(title_BLD, batch) + self.inputs.when(batch))

    def forward(self, batch: Batch) -> Output:
        """Predict the next item and, where the spec has intents, each of them, at every position."""
        return Output(*self.predict(self.encode(batch)))

    def predict(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The user vector and the logits of each intent, from encodings (..., D)."""
        logits = {intent.name: head(x) for intent, head in zip(self.spec.intents, self.heads, strict=True)}
        return self.to_item(x), logits

    def item_vectors(self, items: Items) -> Tensor:
        """Output vectors (I, D) of titles, the same as at the input."""
        return self.titles(items.title_I, items.tokens)
