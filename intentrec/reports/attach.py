"""Pages beside the model that the week trained, so that they open from MLflow, too."""

from pathlib import Path

from intentrec.registry import tracking
from intentrec.registry.versions import Registry
from intentrec.storage.runs import Run, ledger
from intentrec.training.inputs import Inputs

FOLDER = "reports"  # among the run's artifacts


def attach(run: Run, page: Path, trend: Path) -> str | None:
    """Keep copies of the pages with the MLflow run of the interval's challenger, and tag its version with their place.

    They lie there as they do in the report folder, so that their links to each other hold.

    Returns:
        The MLflow run's id, None where the interval trained nothing.
    """
    mine = [row for row in ledger(run.profile, run.domain) if (row["start"], row["end"]) == (run.start, run.end)]
    trained = [row for row in mine if row["job"] == "train"]
    if not trained or trained[-1]["status"] != "succeeded":
        return None
    inputs = Inputs.of(run)
    logged = tracking.finished_run(run.profile, run.domain, inputs.fingerprint)
    if logged is None:
        return None  # the tables changed since: the model of these inputs is still to be trained
    client = tracking.client_of(run.profile)
    client.log_artifact(logged.run_id, str(trend), FOLDER)
    client.log_artifact(logged.run_id, str(page), f"{FOLDER}/{page.parent.name}")
    place = f"{FOLDER}/{page.parent.name}/{page.name}"
    client.set_tag(logged.run_id, "report", place)
    registry = Registry(run.profile, run.domain)
    version = registry.by_fingerprint(inputs.fingerprint)
    if version is not None:
        registry.tag(version, "report", f"runs:/{logged.run_id}/{place}")
    return logged.run_id
