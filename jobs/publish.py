"""Score the snapshot as of --end with the champion and publish intents, recommendations, vectors and their release."""

from typing import Annotated

import typer

from intentrec.entry import Config, End, ProfileFile, Start, job, main
from intentrec.registry.publish import publish as publish_snapshot
from intentrec.storage.warehouse import Warehouse

Activate = Annotated[
    bool,
    typer.Option(
        "--activate/--no-activate", help="make it the active release, unless the active one is of a later date"
    ),
]
EvenIfOlder = Annotated[bool, typer.Option("--even-if-older", help="activate it although a later one is active")]


def publish(
    start: Start,
    end: End,
    config: Config,
    profile: ProfileFile = None,
    activate: Activate = True,
    even_if_older: EvenIfOlder = False,
) -> None:
    """Publish the snapshot as of `end`."""
    with job("publish", start, end, config, profile) as run:
        publish_snapshot(Warehouse.open(run), activate, even_if_older)


if __name__ == "__main__":
    main(publish, __doc__)
