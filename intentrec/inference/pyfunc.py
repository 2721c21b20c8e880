"""The registered model, as code that MLflow runs on loading: rows of `sequences` in, predictions out.

A copy of this file and of the modules that it imports is logged with each model (`intentrec.inference.packaging`). So
these modules may need only the packages that `packaging.PACKAGES` names: neither Spark nor pydantic.

Parameters of predict: `top_k`, `seen_titles`, and `catalog` (folder of a Delta table in the shape of `catalog`, with
`catalog_version`). Without `catalog` the titles are those known when the model was trained. With `seen_titles` false,
the titles that a user has seen are left out: those of the column `seen_title_ids`, or without it those of the row.
"""

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
        self.schema = pq.read_schema(folder / "sequences.parquet")

    # No type hints: MLflow would read one of model_input as a schema of single rows.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """One row per input row.

        Raises:
            ValueError: the rows have several dates as_of, or `catalog` is not a Delta table with a version.
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
        catalog = self.catalog
        if options.get("catalog"):
            if options.get("catalog_version", -1) < 0:
                raise ValueError(
                    f"catalog: {options['catalog']!r} at version {options.get('catalog_version')}: the folder of the "
                    "Delta table catalog, as a warehouse has it, and a version of it are needed"
                )
            known = read_before(str(options["catalog"]), options["catalog_version"], "snapshot_date", as_of)
            catalog = known.select(self.catalog.column_names).cast(self.catalog.schema)
        scorer = Scorer(self.files, catalog, as_of)
        found = scorer.score(rows, options.get("top_k", 20), options.get("seen_titles", True))
        return found.drop_columns(["by_class"]).to_pandas(maps_as_pydicts="strict")


def _moments(values: Any) -> np.ndarray:
    """As UTC microseconds. Inside a list Arrow reads the nanoseconds of pandas as microseconds."""
    return pd.to_datetime(values, utc=True).tz_localize(None).to_numpy().astype("datetime64[us]")


set_model(IntentRecModel())
