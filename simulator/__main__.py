"""Simulate a streaming service: write landing files, and the truth behind them to a folder that no job reads."""

import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from intentrec.config import OWN, ConfigError, load_domain, load_profile
from simulator import Settings, simulate
from simulator.settings import World

DATE = ["%Y-%m-%d"]
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(help=__doc__)
def main(
    config: Annotated[Path, typer.Option(help="domain file, such as conf/streaming.yaml")],
    start: Annotated[datetime, typer.Option(formats=DATE, help="first service date")],
    end: Annotated[datetime, typer.Option(formats=DATE, help="service date after the last")],
    profile: Annotated[
        Path | None, typer.Option(help="profile file; default: INTENTREC_PROFILE or conf/profiles/local.yaml")
    ] = None,
    users: Annotated[int, typer.Option(help="number of users")] = Settings.users,
    titles: Annotated[int, typer.Option(help="size of the back catalogue")] = Settings.titles,
    seed: Annotated[int, typer.Option(help="of all random numbers")] = Settings.seed,
    world: Annotated[World, typer.Option(help="intent, or null: popularity alone")] = Settings.world,
) -> None:
    try:
        loaded = load_domain(config)
        settings = Settings.from_domain(loaded, users=users, titles=titles, seed=seed, world=world)
        landing, truth = _folders(profile, loaded.domain)
        summary = simulate(settings, start.date(), end.date(), landing, truth, progress=True)
    except ConfigError as error:
        print(f"[simulator] FAILED: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    outcomes = ", ".join(f"{outcome} {count:,}" for outcome, count in sorted(summary.outcomes.items()))
    weeks = f"{start.date()}..{end.date()}"
    print(f"[simulator {weeks}] world {world}: {summary.outcomes.total():,} raw rows ({outcomes})")
    print(f"  of {users:,} users in {summary.sessions:,} sessions; {summary.catalogue_rows:,} catalogue rows")
    print(f"  landing {landing}\n  truth   {truth}")


def _folders(chosen: Path | None, domain: str) -> tuple[Path, Path]:
    """The domain's landing zone and the folder of its truth.

    Raises:
        ConfigError: one of them is not a local folder.
    """
    profile = load_profile(chosen)
    for key, folder in (("landing", profile.landing), ("work", profile.work)):
        if "://" in folder:
            raise ConfigError(
                f"profile {profile.name}: {key} {folder} is not a local folder. Simulate to a local folder, then copy."
            )
    return Path(profile.landing) / domain, Path(profile.work) / "truth" / domain


if __name__ == "__main__":
    os.umask(OWN)
    app(prog_name="python -m simulator")
