"""The registered model, as code that MLflow runs on loading: rows of `sequences` in, predictions out.

A copy of this file and of the modules that it imports is logged with each model (`intentrec.inference.packaging`). So
these modules may need only the packages that `packaging.PACKAGES` names: neither Spark nor pydantic.

Parameters of predict: `top_k`, `seen_titles`, and `catalog` and `title_facts` (folders of Delta tables in the shape of
`catalog` and `title_facts`, with `catalog_version` and `title_facts_version`). Without them the titles, and how
popular they are, are those known when the model was trained. With `seen_titles` false, the titles that a user has seen
are left out: those of the column `seen_title_ids`, or without it those of the row.
"""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

from intentrec.inference.scorer import Scorer, read_files
from intentrec.model.titles import SEEN
from intentrec.storage.delta_folder import read_before


class IntentRecModel(PythonModel):
    """The model in MLflow. Weights and vocabulary are artifacts (safetensors, JSON, Parquet); nothing is pickled."""

    def load_context(self, context: Any) -> None:
        """Read the artifacts."""
        folder = Path(context.artifacts["model"]).parent
        self.files = read_files(folder)
        self.catalog = pq.read_table(folder / "catalog.parquet")
        self.title_facts = pq.read_table(folder / "title_facts.parquet")
        self.schema = pq.read_schema(folder / "sequences.parquet")

    # No type hints: MLflow would read one of model_input as a schema of single rows.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """One row per input row.

        Raises:
            ValueError: the rows have several dates as_of, or a folder is not a Delta table with a version.
        """
        options = params or {}
        schema = self.schema
        if SEEN in model_input:
            schema = schema.append(pa.field(SEEN, pa.list_(pa.string())))
        dated = model_input.assign(
            as_of=model_input["as_of"].dt.date,
            start_ts=model_input["start_ts"].map(_moments),
            end_ts=model_input["end_ts"].map(_moments),
        )
        rows = pa.RecordBatch.from_pandas(dated[schema.names], schema, preserve_index=False)
        days = set(dated["as_of"])
        if len(days) != 1:
            raise ValueError(f"rows of one as_of are needed, got {sorted(map(str, days))}")
        as_of = days.pop()
        catalog = _known(options, "catalog", "snapshot_date", as_of, self.catalog)
        title_facts = _known(options, "title_facts", "as_of", as_of + timedelta(days=1), self.title_facts)
        scorer = Scorer(self.files, catalog, title_facts, as_of)
        found = scorer.score(rows, options.get("top_k", 20), options.get("seen_titles", True))
        return found.drop_columns(["by_class"]).to_pandas(maps_as_pydicts="strict")


def _known(options: dict[str, Any], name: str, column: str, before: date, default: pa.Table) -> pa.Table:
    """The rows before a date of the Delta table that the parameter `name` names; `default` where it names none."""
    folder, version = options.get(name), options.get(f"{name}_version", -1)
    if not folder:
        return default
    if version < 0:
        raise ValueError(
            f"{name}: {folder!r} at version {version}: the folder of the Delta table, as a warehouse has it, and a "
            f"version of it ({name}_version) are needed"
        )
    return read_before(str(folder), version, column, before).select(default.column_names).cast(default.schema)


def _moments(values: Any) -> np.ndarray:
    """As UTC microseconds. Inside a list Arrow reads the nanoseconds of pandas as microseconds."""
    return pd.to_datetime(values, utc=True).tz_localize(None).to_numpy().astype("datetime64[us]")


set_model(IntentRecModel())
