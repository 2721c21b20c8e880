"""Predicted intents beside recommendations, next interactions, and the simulator's true intents.

Shape suffixes: E events, U users, M intents, P width of Z.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.metrics import adjusted_mutual_info_score

from intentrec.config import Domain
from intentrec.evaluation.candidates import Titles
from intentrec.evaluation.compare import ROWS
from intentrec.evaluation.evidence import Evidence
from intentrec.evaluation.model_system import ModelSystem
from intentrec.inference.predictor import Predictor
from intentrec.inference.scorer import assign_clusters, attention_weights, embeddings, fit_clusters, sample_users
from intentrec.model.titles import titles_of
from intentrec.reports.plots import draw_profiles
from lab.alignment import Aligned, align, returns

CLUSTERS = 10


def aligned_on(evidence: Evidence, domain: Domain, predictor: Predictor) -> Aligned:
    """The model's intents beside its recommendations and what happened in the judged week."""
    titles = Titles.of(titles_of(evidence.catalog)["title_id"].to_pylist())
    returning = returns(evidence.before.to_batches(ROWS), titles, domain.intents)
    system = ModelSystem(predictor, evidence.catalog, evidence.title_facts, evidence.end, titles)
    return align(evidence.week.to_batches(ROWS), titles, system, evidence.catalog, domain.intents, returning)


def against_truth(found: Aligned, truth: Path) -> dict[str, float]:
    """Adjusted mutual information (0: chance, 1: equal) of the true intent with the predicted ones.

    The true intent is the latent intent of the session in which the next interaction began. It is compared with the
    primary intent and with the cluster of the intent embedding.

    Args:
        found: of simulated data.
        truth: folder of the simulator's truth, with `sessions/week=*.parquet`.
    """
    sessions = pd.concat([pd.read_parquet(file) for file in sorted((truth / "sessions").glob("*.parquet"))])
    events = pd.DataFrame(
        {
            "user_id": found.users.to_numpy(zero_copy_only=False),
            "start_ts": found.moments.cast(pa.timestamp("us", "UTC")).to_pandas().astype("datetime64[us, UTC]"),
            "primary": found.primary,
            "cluster": cluster_of(found.embedding_EP),
        }
    )
    sessions["start_ts"] = sessions["start_ts"].astype("datetime64[us, UTC]")
    joined = pd.merge_asof(
        events.sort_values("start_ts"),
        sessions[["user_id", "start_ts", "intent"]].sort_values("start_ts"),
        on="start_ts",
        by="user_id",
    ).dropna(subset=["intent"])
    return {
        f"true_intent_in_{name}": float(adjusted_mutual_info_score(joined["intent"], joined[name]))
        for name in ("primary", "cluster")
    }


def cluster_of(embedding_EP: NDArray) -> NDArray[np.int32]:
    """Number of each embedding's k-means++ cluster, the largest first: (E,)."""
    return assign_clusters(embedding_EP, fit_clusters(embedding_EP, CLUSTERS, seed=0))


def figures(evidence: Evidence, domain: Domain, predictor: Predictor, folder: Path) -> None:
    """Write Figures 6 and 7, of the users as of the cut, as `intent_clusters.png` and `attention.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    users = sample_users(evidence.before).combine_chunks().to_batches()[0]
    found = predictor.predict(users, predictor.items(evidence.catalog_before, evidence.title_facts, evidence.cut), 1)
    embedding_UP, attention_UM = embeddings(found), attention_weights(found)
    cluster_U, names = cluster_of(embedding_UP), list(predictor.labels)
    draw_profiles(users, embedding_UP, attention_UM, cluster_U, names, domain.intents, folder)
