"""What metrics are called in MLflow."""

from mlflow.utils.validation import _validate_metric_name

from intentrec.registry.tracking import metric_names


def test_names_of_metrics_stay_distinct() -> None:
    """Labels are the domain's own: in any script, and with what MLflow refuses."""
    labels = ["Sci-Fi & Fantasy", "Sci-Fi / Fantasy", "Sci-Fi | Fantasy", "电影", "动作", "драма"]
    found = metric_names(f"accuracy_of_{label}" for label in labels)
    assert list(found.values()) == [
        "accuracy_of_Sci-Fi_Fantasy",
        "accuracy_of_Sci-Fi_Fantasy_2",
        "accuracy_of_Sci-Fi_Fantasy_3",
        "accuracy_of_电影",
        "accuracy_of_动作",
        "accuracy_of_драма",
    ]
    for name in found.values():
        _validate_metric_name(name)
