"""Score the snapshot as of --end with the champion and publish intents, recommendations, vectors and their release."""

import argparse

from intentrec.registry.publish import publish
from intentrec.storage.runs import Run, main
from intentrec.storage.warehouse import Warehouse


def options(parser: argparse.ArgumentParser) -> None:
    """Whether the release becomes the active one."""
    parser.add_argument(
        "--activate",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="make it the active release, unless the active one is of a later date",
    )
    parser.add_argument("--even-if-older", action="store_true", help="activate it although a later one is active")


def body(run: Run, args: argparse.Namespace) -> None:
    """Publish."""
    publish(Warehouse.open(run), args.activate, args.even_if_older)


if __name__ == "__main__":
    main("publish", __doc__, body, options)
