"""What MLflow's stores can keep of a training: names, parameters and descriptions have limits."""

from types import SimpleNamespace

from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH, _validate_metric_name

from intentrec.evaluation.metrics import Result
from intentrec.registry import challenger_record
from intentrec.registry.tracking import DESCRIPTION, described, fitting
from tests.evaluation.rows import sequences

LABELS = ["Sci-Fi & Fantasy", "电影", "x" * 300]  # as labels of old catalogues, before they had a limit


def test_no_label_becomes_the_name_of_a_metric() -> None:
    """Labels are the domain's own: in any script, of any length, and with what MLflow refuses."""
    users = sequences({"u": ["a"]}).column(1)
    of_classes = {f"intent_genre_accuracy_of_{label}": 0.5 for label in LABELS}
    results = {
        system: Result({"next_mrr": 0.25, "intent_genre_accuracy": 0.5, **of_classes}, users)
        for system in ("challenger", "v0")
    }
    fits = {"challenger": SimpleNamespace(metrics={"val_mrr": 0.1, "train_loss": 1.0})}
    found = challenger_record._metrics(SimpleNamespace(results=results, fits=fits))
    assert found == {
        "val_mrr": 0.1,
        "next_mrr": 0.25,
        "intent_genre_accuracy": 0.5,
        "v0_next_mrr": 0.25,
        "v0_intent_genre_accuracy": 0.5,
    }
    for name in found:
        _validate_metric_name(name)


def test_a_long_card_is_shortened_at_the_end_of_a_line() -> None:
    """PostgreSQL refuses a description of more than 5,000 characters."""
    card = "# The card\n\n" + "\n".join(f"- label {number}: 0.50" for number in range(1000)) + "\n"
    shown = described(card)
    assert len(shown) <= DESCRIPTION == 5_000
    whole, _, note = shown.partition("\n\n(")
    assert card.startswith(whole + "\n")
    assert len(whole) > 4_800
    assert "card.md" in note
    assert described(card[:DESCRIPTION]) == card[:DESCRIPTION]
    assert len(described("x" * 9_000)) == DESCRIPTION


def test_a_long_parameter_keeps_a_hash_of_what_was_cut() -> None:
    """So that a comparison of two versions shows a change at its end."""
    long = ["y" * 6_000 + end for end in ("a", "b")]
    one, other = map(fitting, long)
    assert len(one) == len(other) == MAX_PARAM_VAL_LENGTH
    assert one != other
    assert fitting(long[0][:6_000]) == long[0][:6_000]
    assert fitting(3) == "3"
