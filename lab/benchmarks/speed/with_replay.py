"""RePlay's SasRec in the task, through its public interface. Runs in its own environment."""

from importlib.metadata import version
from pathlib import Path

import lightning
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from replay.data import FeatureHint, FeatureSource, FeatureType
from replay.data.nn import ParquetModule, TensorFeatureInfo, TensorFeatureSource, TensorSchema
from replay.nn.lightning import LightningModule
from replay.nn.lightning.callback import PandasTopItemsCallback
from replay.nn.lightning.optimizer import OptimizerFactory
from replay.nn.sequential import SasRec
from replay.nn.transform import AdaptiveTrimTransform, RenameTransform, TargetAwareAdaptiveTrimTransform
from replay.nn.transform.template import make_default_sasrec_transforms

from lab.benchmarks.speed import turns
from lab.benchmarks.speed.histories import Histories, load

USER, ITEM = "user_id", "item_id"


def main() -> None:
    """Train, then score all users."""
    task = turns.task()
    torch.set_num_threads(task.threads)
    histories = load(task.data)
    users = len(histories.offsets) - 1
    paths = {"train": f"{task.folder}/train.parquet", "predict": f"{task.folder}/predict.parquet"}
    write(histories.last(task.length + 1), Path(paths["train"]))
    write(histories.last(task.length), Path(paths["predict"]))

    def data(split: str, batch: int, length: int) -> ParquetModule:
        columns = {USER: {}, ITEM: {"shape": length, "padding": task.titles}}
        chosen = {split: with_trimming(transforms)[split]}
        return ParquetModule(batch, {split: columns}, chosen, **{f"{split}_path": paths[split]})

    schema = schema_of(task)
    transforms = make_default_sasrec_transforms(schema)
    model = SasRec.from_params(
        schema,
        embedding_dim=task.dim,
        num_heads=task.heads,
        num_blocks=task.blocks,
        max_sequence_length=task.length,
        dropout=task.dropout,
    )
    module = LightningModule(model, OptimizerFactory(learning_rate=task.rate))
    training = trainer(turns.epochs(lightning.Callback), task.epochs)
    training.fit(module, datamodule=data("train", task.batch, task.length + 1))
    top = PandasTopItemsCallback(task.top_k, USER, ITEM)
    scoring = trainer(top)
    to_score = data("predict", task.score_batch, task.length)
    for _ in range(task.scorings):
        turns.begin()
        scoring.predict(module, datamodule=to_score, return_predictions=False)
        found = top.get_result()
        turns.end()
        assert len(found) == users * task.top_k
    turns.about(
        version=version("replay-rec"),
        torch=torch.__version__,
        parameters=sum(p.numel() for p in model.parameters()),
        loss=float(training.callback_metrics["train_loss_epoch"]),
    )


def schema_of(task: turns.Task) -> TensorSchema:
    """The item alone."""
    return TensorSchema(
        TensorFeatureInfo(
            ITEM,
            FeatureType.CATEGORICAL,
            is_seq=True,
            feature_hint=FeatureHint.ITEM_ID,
            feature_sources=[TensorFeatureSource(FeatureSource.INTERACTIONS, ITEM)],
            cardinality=task.titles,
            padding_value=task.titles,
            embedding_dim=task.dim,
        )
    )


def with_trimming(transforms: dict[str, list]) -> dict[str, list]:
    """RePlay's transforms, and its own transforms that cut padding shared by a whole batch."""
    trims = {
        "train": TargetAwareAdaptiveTrimTransform([ITEM, "positive_labels"]),
        "predict": AdaptiveTrimTransform(ITEM),
    }
    found = {}
    for split, trim in trims.items():
        renamed = 1 + next(i for i, each in enumerate(transforms[split]) if isinstance(each, RenameTransform))
        found[split] = [*transforms[split][:renamed], trim, *transforms[split][renamed:]]
    return found


def trainer(callback: lightning.Callback, epochs: int | None = None) -> lightning.Trainer:
    """A trainer without logs, checkpoints and progress."""
    return lightning.Trainer(
        max_epochs=epochs,
        limit_val_batches=0,
        accelerator="cpu",
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def write(histories: Histories, path: Path) -> None:
    """The file that RePlay reads: a row per user."""
    items = pa.LargeListArray.from_arrays(histories.offsets.astype(np.int64), histories.title_N.astype(np.int64))
    users = np.arange(len(histories.offsets) - 1, dtype=np.int64)
    pq.write_table(pa.table({USER: users, ITEM: items.cast(pa.list_(pa.int64()))}), path)


if __name__ == "__main__":
    main()
