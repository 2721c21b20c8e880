"""Pictures and the model card of a training, as the MLflow run of the training keeps them."""

from pathlib import Path

from intentrec.registry.challenger import TrainedChallenger
from intentrec.reports.cluster_plots import draw_profiles
from intentrec.reports.model_card import model_card
from intentrec.reports.plots import draw


def training_report(trained: TrainedChallenger, plots: Path) -> str:
    """Write the pictures of a training below the folder `plots`, and return its model card as Markdown."""
    histories = {name: found.history for name, found in trained.fits.items()}
    draw(histories, trained.results, trained.intents, plots)
    clusters = trained.clusters
    draw_profiles(
        clusters.users,
        clusters.embedding_UP,
        clusters.attention_UM,
        clusters.cluster_U,
        trained.intents,
        trained.domain.intents,
        plots,
    )
    return model_card(
        trained.domain,
        trained.inputs.trained_for,
        trained.inputs.cutoff,
        trained.results,
        trained.facts,
        trained.simulated,
    )
