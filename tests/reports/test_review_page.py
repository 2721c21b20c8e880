"""The reviewer's page, part by part, on made-up facts."""

from datetime import date

import numpy as np
import pytest

from intentrec.config import Gate
from intentrec.evaluation.gate import Decision, Row
from intentrec.evaluation.significance import Lift, mean_intervals
from intentrec.registry.changes import Change, changes, flat
from intentrec.registry.versions import Version
from intentrec.reports.review_page import Example, pseudonym, review_page
from tests.reports.pages import MARKUP, elements

GATE = Gate(promotion="reviewed", guardrails={"coverage_at_10": 0.5, "recall_at_10_new": 0.1})
VERSION = Version("intentrec-x", "7", "run", "f", date(2026, 9, 7), None, None, None, "awaiting")


def metrics(ndcg: float, coverage: float, new: float) -> dict[str, float]:
    return {
        "ndcg_at_10": ndcg,
        "coverage_at_10": coverage,
        "recall_at_10_new": new,
        "users": 1200,
        "users_cold": 30,
        "users_unserved": 90,
    }


def record(champion: bool = True) -> dict:
    rows = [Row("challenger", "IntentRec, version 7", {**metrics(0.3, 0.4, 0.05), "ndcg_at_10_cold": 0.125})]
    lifts = {"popularity_7d": Lift(2.0, 1.5, float("inf"), 0.95, 0.001, 1200)}
    if champion:
        rows.append(Row("champion", "champion, version 6", metrics(0.25, 0.6, 0.1)))
        lifts["champion"] = Lift(0.2, 0.11, 0.29, 0.95, 0.001, 1200)
    rows.append(Row("popularity_7d", "popularity_7d", metrics(0.1, 0.01, float("nan"))))
    decision = Decision(False, ("guardrail recall_at_10_new breaks",), tuple(rows), lifts)
    intents = {
        "challenger": {
            "intent_kind_accuracy": 0.8,
            "intent_kind_accuracy_of_film": 0.9,
            "intent_kind_accuracy_of_<b>show</b>": 0.5,
        },
        "champion": {"intent_kind_accuracy": 0.75, "intent_kind_accuracy_of_<b>show</b>": 0.625},
        "majority": {"intent_kind_accuracy": 0.6},
    }
    means = {"challenger": {"ndcg_at_10": [0.28, 0.32]}, "champion": {"ndcg_at_10": [0.23, 0.27]}}
    return {**decision.to_dict(), "means": means, "intents": intents, "champion": "6" if champion else None}


def page(champion: bool = True, examples: tuple[Example, ...] = (), settings: tuple[Change, ...] = ()) -> str:
    data = [Change("rows.sequences", "-" if not champion else "900", "1000")]
    return review_page(VERSION, GATE, record(champion), data, settings, examples, simulated=True)


def lines(text: str, heading: str) -> list[str]:
    """What stands under a heading."""
    return text.split(f"\n## {heading}", 1)[1].split("\n## ", 1)[0].splitlines()


def test_metrics_stand_with_intervals_beside_champion_and_naive_baselines() -> None:
    text = page()
    assert "against the champion, version 6, recommends: **keep the champion**" in text
    assert "without a champion, recommends: **do not promote (there is no champion)**" in page(champion=False)
    rows = [line for line in lines(text, "Week ahead") if line.startswith("| ")]
    metrics = "ndcg_at_10 | recall_at_10 | mrr | coverage_at_10 | next_mrr | next_mrr_given_intent"
    assert rows[0].startswith(f"| system | {metrics} | lift")
    assert rows[2].startswith("| IntentRec, version 7 | 0.3000 [0.2800, 0.3200] | - | - | 0.4000 | - | - |")
    assert rows[3].endswith("| +20.0% [+11.0%, +29.0%] |")
    assert rows[4].endswith("| +200.0% [+150.0%, ∞] |")
    assert "**Simulated data.**" in text
    assert "90 more users came in the week, whom no system serves" in text


def test_a_page_of_a_first_version_that_was_never_measured() -> None:
    sparse = {**record(champion=False), "intents": {}, "means": {}}
    text = review_page(VERSION, GATE.model_copy(update={"guardrails": {}}), sparse, [], [], [], simulated=False)
    assert "Simulated" not in text
    for row in sparse["rows"]:
        del row["users_unserved"]
    old = review_page(VERSION, GATE.model_copy(update={"guardrails": {}}), sparse, [], [], [], simulated=False)
    assert "whom no system serves" not in old, "a record of an earlier version does not say how many"
    assert "Not measured." in lines(text, "Intents")
    assert "The domain file names none." in lines(text, "Guardrails")
    assert "No setting differs from a champion's." in lines(text, "What changed")
    assert "There is no snapshot to show users of." in lines(text, "Example users")
    assert "\n\n\n" not in text


def test_slices_name_new_titles_cold_users_and_every_class() -> None:
    slices = lines(page(), "Slices")
    assert "30 users are cold." in slices
    assert "| IntentRec, version 7 | 0.0500 | 0.1250 |" in slices
    intents = lines(page(), "Intents")
    assert "| `kind` | 0.8000 | 0.7500 | 0.6000 |" in intents
    classes = [line for line in intents if line.startswith("| `kind` | `")]
    # The class that lost most against the champion comes first.
    assert classes == ["| `kind` | `<b>show</b>` | 0.5000 | 0.6250 |", "| `kind` | `film` | 0.9000 | - |"]


def test_guardrails_say_which_is_broken() -> None:
    holds, broken = (line for line in lines(page(), "Guardrails") if line.startswith("- "))
    assert holds.startswith("- guardrail coverage_at_10 holds: 0.4000, at least 0.3000")
    assert broken.startswith("- **broken** guardrail recall_at_10_new breaks: 0.0500, at least 0.0900")


def test_without_a_champion() -> None:
    text = page(champion=False)
    assert "The gate, without a champion, recommends" in text
    assert "There is no champion to compare with." in lines(text, "Guardrails")


def test_changes_and_users_are_listed() -> None:
    user = Example("0a1b2c3d", ["Old | film", "t2"], {"kind": ("show", 0.625)}, "kind", ["New `film`", "t9"])
    text = page(examples=(user,), settings=(Change("model.dim", "16", "32"),))
    assert "| `rows.sequences` | `900` | `1000` |" in text
    assert "| `model.dim` | `16` | `32` |" in text
    last, best = r"`Old \| film`, `t2`", "`New 'film'`, `t9`"
    assert f"| 0a1b2c3d | {last} | `kind` `show` 62% | `kind` | {best} |" in text


@pytest.mark.parametrize("text", MARKUP)
def test_no_text_from_outside_becomes_a_heading_a_link_or_an_image(text: str) -> None:
    """Labels, titles, settings, data and reasons."""

    def shown(word: str) -> list[str]:
        found = record()
        found["reasons"] = [word]
        found["intents"]["challenger"] = {"intent_kind_accuracy": 0.8, f"intent_kind_accuracy_of_{word}": 0.5}
        user = Example("0a1b2c3d", [word], {"kind": (word, 0.625)}, "kind", [word])
        change = [Change(word, word, word)]
        return elements(review_page(VERSION, GATE, found, change, change, [user], simulated=False))

    assert shown(text) == shown("plain")


def test_what_differs() -> None:
    before, after = {"a": "1", "b": "2", "gone": "x"}, {"a": "1", "b": "3", "new": "y"}
    assert changes(before, after) == [Change("b", "2", "3"), Change("gone", "x", "-"), Change("new", "-", "y")]
    assert changes(before, after, equal=True)[0] == Change("a", "1", "1")


def test_settings_as_dotted_keys() -> None:
    tree = {
        "gate": {
            "naive_baselines": ["markov"],
            "rules": [{"name": "save", "when": "r.x"}, {"name": "skip", "when": "true"}],
        }
    }
    assert flat(tree) == {
        "gate.naive_baselines": "['markov']",
        "gate.rules.save.when": "r.x",
        "gate.rules.skip.when": "true",
    }


def test_a_pseudonym_depends_on_the_salt_and_hides_the_user() -> None:
    assert pseudonym("s", "u1") == pseudonym("s", "u1") != pseudonym("s", "u2")
    assert pseudonym("s", "u1") != pseudonym("t", "u1")
    assert len(pseudonym("s", "u1")) == 8


def test_intervals_of_means() -> None:
    # 100 users, half of them 1: the mean's standard error is 0.05, so 95 % of its resamples lie within 0.1 or so.
    half = np.tile([0.0, 1.0], 50)
    lower, upper = mean_intervals(np.stack([half, np.full(100, 0.25)], axis=1), resamples=2000)
    assert lower == pytest.approx([0.5 - 1.96 * 0.05, 0.25], abs=0.015)
    assert upper == pytest.approx([0.5 + 1.96 * 0.05, 0.25], abs=0.015)
    with pytest.raises(ValueError, match="at least one user"):
        mean_intervals(np.empty((0, 2)))
