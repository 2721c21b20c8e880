"""Upper bounds of predicting the next labels in a simulated study: `python -m lab.benchmarks.predictability`.

Gradient-boosted trees of scikit-learn predict the label of each next target from three sets of features: the rows; also
the latent intents of all earlier interactions, which no model sees; also the latent intent of the predicted interaction
itself. Two oracles rank the titles of the judged week: one knows all that happened before a session, the other also the
session's intent. The study must exist (`make study`).
"""

import json
import os
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from sklearn.ensemble import HistGradientBoostingClassifier

from intentrec.config import Intent
from intentrec.config import home as home_path
from intentrec.contracts import INTERACTIONS
from intentrec.errors import PipelineError
from intentrec.local.progress import Progress
from intentrec.reports.markdown import table
from intentrec.storage.delta import Snapshot
from lab.benchmarks.report import RESULTS, code, publish
from lab.studies.data import tables
from lab.studies.study import load_study

ITERATIONS = 40  # of the trees
LATEST = 3  # interactions whose labels are seen one by one; of all before them, how often there was which
LATENT = "latent"
KEY = ["user_id", "start_ts", "title_id"]
KNOWN = ("the rows", "and all latent intents before", "and the latent intent of now")


def interactions_with_truth(warehouse: str, truth: Path, intents: list[Intent]) -> pd.DataFrame:
    """Every interaction in its user's order, with a column per intent, `labels.INTENT` where it has several, and the
    latent intent behind it.

    Raises:
        PipelineError: the truth lacks an interaction.
    """
    rows = Snapshot(warehouse, INTERACTIONS).rows().to_pandas()
    events = pd.concat([pd.read_parquet(file) for file in sorted((truth / "events").glob("*.parquet"))])
    events = events[events["outcome"] == "accepted"].rename(columns={"event_ts": "start_ts", "intent": LATENT})
    for frame in (rows, events):
        frame["start_ts"] = frame["start_ts"].astype("datetime64[us, UTC]")
    rows = rows.merge(events.drop_duplicates(KEY)[[*KEY, LATENT]], on=KEY, how="left")
    if rows[LATENT].isna().any():
        raise PipelineError(f"{truth}: no latent intent of {rows[LATENT].isna().sum()} interactions")
    for intent in intents:
        value = rows[intent.column]
        if intent.multi_label:
            rows[f"labels.{intent.name}"] = value
            value = value.map(lambda labels: labels[0] if len(labels) else "")
        if intent.bins:
            value = pd.cut(value, [-np.inf, *intent.bins, np.inf], labels=intent.labels)
        rows[intent.name] = value.astype(str)
    return rows.sort_values(["user_id", "end_ts", "title_id"]).reset_index(drop=True)


def facts(rows: pd.DataFrame, names: list[str]) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """What is known when each interaction begins, and which of it belongs to each of `KNOWN`.

    Hour and gap are the interaction's own: trees know when it is, which IntentRec does not.
    """
    users = rows.groupby("user_id")
    seconds = (rows["start_ts"] - users["end_ts"].shift(1)).dt.total_seconds()
    found = {"hour": rows["start_ts"].dt.hour, "log_gap": np.log(seconds.clip(lower=1))}
    told: dict[str, pd.Series] = {}
    for name in [*names, LATENT]:
        into = told if name == LATENT else found
        for back in range(1, LATEST + 1):
            into[f"{name}.{back}"] = users[name].shift(back).astype("category")
        for label in sorted(rows[name].unique()):
            so_far = (rows[name] == label).groupby(rows["user_id"]).cumsum()
            into[f"{name}={label}"] = so_far - (rows[name] == label)
    now = {LATENT: rows[LATENT].astype("category")}
    sets = [list(found), [*found, *told], [*found, *told, *now]]
    return pd.DataFrame(found | told | now), dict(zip(KNOWN, sets, strict=True))


def skills(rows: pd.DataFrame, names: list[str], cut: date) -> list[dict[str, Any]]:
    """Per intent the accuracy over the targets from `cut` on, of trees that learned from those before; the better of
    majority and repeat-last; and the share of the way from that to 1."""
    known, sets = facts(rows, names)
    targets = rows["is_target"] & ~rows["left_censored"] & rows["user_id"].duplicated()
    judged, learned = targets & (rows["event_date"] >= cut), targets & (rows["event_date"] < cut)
    lines = []
    for name in names:
        several = rows[f"labels.{name}"] if f"labels.{name}" in rows else rows[name].map(lambda label: [label])

        def accuracy(guess: Any, several: pd.Series = several) -> float:
            return float(np.mean([label in labels for label, labels in zip(guess, several[judged], strict=True)]))

        most = rows.loc[learned, name].mode()[0]
        baseline = max(accuracy([most] * judged.sum()), accuracy(_of_last_target(rows, name)[judged]))
        line: dict[str, Any] = {"intent": name, "targets": int(judged.sum()), "baseline": baseline}
        for what, columns in sets.items():
            trees = HistGradientBoostingClassifier(
                categorical_features="from_dtype", max_iter=ITERATIONS, random_state=0
            )
            trees.fit(known.loc[learned, columns], rows.loc[learned, name])
            found = accuracy(trees.predict(known.loc[judged, columns]))
            line[what] = {"accuracy": found, "skill": (found - baseline) / (1 - baseline)}
        lines.append(line)
    return lines


def _of_last_target(rows: pd.DataFrame, name: str) -> pd.Series:
    """The label of each user's last target before each row, of the last interaction where there was none."""
    labels = rows[name].astype(object)
    targets = labels.where(rows["is_target"] & ~rows["left_censored"]).groupby(rows["user_id"]).ffill()
    return targets.groupby(rows["user_id"]).shift().fillna(labels.groupby(rows["user_id"]).shift())


def ceiling(truth: Path, week: date) -> dict[str, float]:
    """MRR of the two oracles over the first choice of each session of a week."""
    events = pd.read_parquet(truth / "events" / f"week={week}.parquet")
    chosen = events[(events["outcome"] == "accepted") & events["rank_given_past"].notna()]
    past, intent = (float((1 / chosen[f"rank_given_{what}"]).mean()) for what in ("past", "intent"))
    return {"choices": len(chosen), "given_past": past, "given_intent": intent}


def values(results: dict[str, Any]) -> dict[str, Any]:
    """What the page shows of the results."""
    studies = []
    for name, found in results["studies"].items():
        rows = []
        for each in found["intents"]:
            cells = [f"{each[what]['accuracy']:.3f} ({each[what]['skill']:.1%})" for what in KNOWN]
            rows.append([each["intent"], f"{each['baseline']:.3f}", *cells, f"{each['v3_skill']:.1%}"])
        headers = ["intent", "majority or repeat-last", *KNOWN, f"IntentRec (V3), [{name}]({name}.md)"]
        studies.append({"title": found["title"], "table": table(headers, rows, "lr"), "oracle": found["oracle"]})
    return {"latest": LATEST, "studies": studies}


def measure(name: str, out: Path) -> dict[str, Any]:
    """Everything about one study; its page in `out` has what V3 foretells."""
    study = load_study(name)
    data = tables(name, study, Progress())
    domain, truth = data.run.domain, Path(data.run.profile.work) / "truth" / data.run.domain.domain
    measured = json.loads((out / f"{name}.json").read_text(encoding="utf-8"))["intents"]
    v3 = {line["intent"]: line["skill"] for line in measured if line["system"] == "v3"}
    rows = interactions_with_truth(data.run.warehouse, truth, domain.intents)
    found = skills(rows, [intent.name for intent in domain.intents], data.evidence.cut)
    intents = [{**line, "v3_skill": v3[line["intent"]]} for line in found]
    return {"title": study.title, "intents": intents, "oracle": ceiling(truth, data.evidence.cut)}


def main(
    study: Annotated[list[str], typer.Option(help="simulated, with latent intents")] = ["world-intent"],  # noqa: B006
    out: Path = RESULTS,
) -> None:
    """Measure and write the page."""
    root = home_path()
    found = {}
    for name in study:
        os.environ["INTENTREC_HOME"] = str(root)  # a study has a home of its own below it
        found[name] = measure(name, out)
    print(publish("predictability", {"code": code(), "studies": found}, out))


if __name__ == "__main__":
    typer.run(main)
