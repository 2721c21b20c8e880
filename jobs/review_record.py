"""Record a person's decision about a version as its tags: who, when and why. An approved version becomes champion.

Starts no Spark and publishes nothing.
"""

from datetime import datetime
from typing import Annotated, Literal

import typer

from intentrec.entry import Config, End, ProfileFile, Start, job, main
from intentrec.registry.verdicts import record
from intentrec.registry.versions import Registry

Version = Annotated[str, typer.Option(help="number of the registered version")]
Verdict = Annotated[Literal["approved", "rejected"], typer.Option(help="the decision")]
Reason = Annotated[str, typer.Option(help="why")]
By = Annotated[str, typer.Option(help="who decided")]
At = Annotated[
    datetime,
    typer.Option(parser=datetime.fromisoformat, metavar="TIME", help="when: ISO 8601 with a time zone"),
]


def review_record(
    start: Start,
    end: End,
    config: Config,
    version: Version,
    verdict: Verdict,
    reason: Reason,
    by: By,
    at: At,
    profile: ProfileFile = None,
) -> None:
    """Record a decision."""
    with job("review_record", start, end, config, profile) as run:
        registry = Registry(run.profile, run.domain)
        run.note = record(registry, registry.version(version), verdict, reason, by, at)
        run.say(run.note)


if __name__ == "__main__":
    main(review_record, __doc__)
