"""Make the page about the version that awaits a decision, and keep it where each way of reviewing finds it."""

from dataclasses import dataclass

from intentrec.errors import Skip
from intentrec.registry.changes import changes, data_of, settings_of
from intentrec.registry.verdicts import awaiting, settle
from intentrec.registry.versions import Registry, Version
from intentrec.reports.examples import examples
from intentrec.reports.review_page import review_page
from intentrec.sources import simulated
from intentrec.storage.runs import Run

PAGE = "review.md"  # beside the run's report, and among the files of the training run in MLflow


@dataclass(frozen=True)
class Page:
    """What a person is asked, about which version."""

    version: Version
    text: str


def ask(run: Run) -> Page:
    """Write the page about the newest version that was trained for the run's end and awaits a decision.

    Raises:
        Skip: there is none, or what was set by hand in the registry decided about it.
    """
    registry = Registry(run.profile, run.domain)
    for line in settle(registry):
        run.say(line)
    waiting = [version for version in awaiting(registry) if version.trained_for == run.end]
    if not waiting:
        raise Skip(f"no version of {registry.name} that was trained for {run.end} awaits a review")
    version = waiting[-1]
    text = _page(run, registry, version)
    run.report_dir.mkdir(parents=True, exist_ok=True)
    (run.report_dir / PAGE).write_text(text, encoding="utf-8")
    registry.client.log_text(version.run_id, text, PAGE)
    run.say(f"version {version.number} awaits a decision; the page is {run.report_dir / PAGE}")
    return Page(version, text)


def _page(run: Run, registry: Registry, version: Version) -> str:
    record = registry.decision(version)
    assert record is not None, "a version awaits a review only after the gate recorded its decision"
    champion = registry.version(record["champion"]) if record["champion"] else None
    return review_page(
        version,
        run.domain.gate,
        record,
        changes(data_of(registry, champion) if champion else {}, data_of(registry, version), equal=True),
        changes(settings_of(registry, champion), settings_of(registry, version)) if champion else [],
        examples(run, registry, version),
        simulated(run.profile, run.domain),
    )
