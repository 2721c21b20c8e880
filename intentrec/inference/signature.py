"""MLflow's signature of the registered model: inputs, outputs, parameters."""

from typing import Any

from intentrec.model.titles import SEEN


def signature() -> Any:
    """An `mlflow.models.ModelSignature`: rows of `sequences` in, one prediction per row out."""
    from mlflow.models import ModelSignature

    return ModelSignature(_inputs(), _outputs(), _params())


def _inputs() -> Any:
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import AnyType, Array, Map

    # Numbers of a JSON request are 64 bits wide, and MLflow narrows none. It accepts narrower ones in a frame.
    texts = ("title_id", "action_type", "kind", "creator", "language", "surface", "device")
    return Schema(
        [
            ColSpec(DataType.datetime, "as_of"),
            ColSpec(DataType.string, "user_id"),
            ColSpec(DataType.string, "account_id"),
            ColSpec(DataType.long, "n_new"),
            *(ColSpec(Array(DataType.string), name) for name in texts),
            # Arrays of arrays: MLflow's check rebuilds them as one numpy array, which fails for unequal lengths.
            ColSpec(AnyType(), "genres"),
            # Arrays of moments: MLflow reads those of a JSON request as nanoseconds, and then refuses whole numbers.
            *(ColSpec(AnyType(), name) for name in ("start_ts", "end_ts")),
            *(ColSpec(Array(DataType.double), name) for name in ("duration_s", "release_age_days", "last_fraction")),
            *(
                ColSpec(Array(DataType.boolean), name)
                for name in ("last_finished", "listed", "is_target", "opens_session")
            ),
            ColSpec(Array(DataType.double), "weight"),
            ColSpec(Map(Array(DataType.long)), "window_start"),
            ColSpec(Array(DataType.string), SEEN, required=False),
        ]
    )


def _outputs() -> Any:
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array, Map

    return Schema(
        [
            ColSpec(DataType.string, "user_id"),
            ColSpec(DataType.string, "account_id"),
            ColSpec(Array(DataType.float), "intent_embedding"),
            ColSpec(Map(DataType.float), "attention"),
            ColSpec(DataType.string, "primary_intent"),
            ColSpec(DataType.string, "distinctive_intent"),
            ColSpec(Map(Array(DataType.string)), "top_labels"),
            ColSpec(Map(Array(DataType.float)), "top_probabilities"),
            ColSpec(Array(DataType.float), "user_vector"),
            ColSpec(Map(DataType.float), "logit_bias"),
            ColSpec(Array(DataType.string), "title_ids"),
            ColSpec(Array(DataType.float), "scores"),
            ColSpec(DataType.integer, "cluster"),
        ]
    )


def _params() -> Any:
    from mlflow.types import DataType, ParamSchema, ParamSpec

    return ParamSchema(
        [
            ParamSpec("top_k", DataType.long, 20),
            ParamSpec("seen_titles", DataType.boolean, True),
            ParamSpec("catalog", DataType.string, ""),
            ParamSpec("catalog_version", DataType.long, -1),
            ParamSpec("title_facts", DataType.string, ""),
            ParamSpec("title_facts_version", DataType.long, -1),
        ]
    )
