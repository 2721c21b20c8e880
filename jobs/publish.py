"""Score the snapshot as of --end with the champion, and publish intents, recommendations, vectors and a release."""

from typing import Annotated

import typer

from intentrec.entry import Config, End, ProfileFile, Start, job, main
from intentrec.registry.publish import publish as publish_snapshot
from intentrec.storage.warehouse import Warehouse

Activate = Annotated[
    bool,
    typer.Option(
        "--activate/--no-activate", help="make the new release the active one, unless the active one has a later date"
    ),
]
EvenIfOlder = Annotated[
    bool, typer.Option("--even-if-older", help="activate it although the active one has a later date")
]


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
