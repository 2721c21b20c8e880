"""RecTools' SASRec in the task, through its public interface. Runs in its own environment."""

from importlib.metadata import version

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Callback, Trainer
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from rectools.models.nn.item_net import IdEmbeddingsItemNet

from lab.benchmarks.speed import turns
from lab.benchmarks.speed.histories import Histories, load


def main() -> None:
    """Train, then score all users."""
    task = turns.task()
    torch.set_num_threads(task.threads)
    histories = load(task.data)
    dataset = dataset_of(histories)

    def trainer() -> Trainer:
        return Trainer(
            max_epochs=task.epochs,
            accelerator="cpu",
            callbacks=[turns.epochs(Callback)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

    model = SASRecModel(
        n_blocks=task.blocks,
        n_heads=task.heads,
        n_factors=task.dim,
        dropout_rate=task.dropout,
        session_max_len=task.length,
        batch_size=task.batch,
        loss="softmax",
        lr=task.rate,
        item_net_block_types=(IdEmbeddingsItemNet,),
        get_trainer_func=trainer,
        recommend_batch_size=task.score_batch,
    )
    model.fit(dataset)
    users = np.arange(len(histories.offsets) - 1)
    for _ in range(task.scorings):
        turns.begin()
        found = model.recommend(users, dataset, k=task.top_k, filter_viewed=False)
        turns.end()
        assert len(found) == len(users) * task.top_k
    turns.about(
        version=version("rectools"),
        torch=torch.__version__,
        parameters=sum(p.numel() for p in model.torch_model.parameters()),
        loss=float(model.fit_trainer.callback_metrics["train_loss"]),
    )


def dataset_of(histories: Histories) -> Dataset:
    """The histories as RecTools reads them."""
    interactions = pd.DataFrame(
        {
            Columns.User: histories.users(),
            Columns.Item: histories.title_N,
            Columns.Weight: 1.0,
            Columns.Datetime: pd.to_datetime(histories.second_N, unit="s"),
        }
    )
    return Dataset.construct(interactions)


if __name__ == "__main__":
    main()
