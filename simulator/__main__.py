"""Simulate a streaming service: write landing files, and the truth behind them where no job reads it."""

import argparse
import sys
from datetime import date
from pathlib import Path

from intentrec.config import load_domain, load_profile
from intentrec.errors import PipelineError
from simulator import Settings, simulate
from simulator.settings import WORLDS


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m simulator", description=__doc__)
    parser.add_argument("--config", required=True, help="domain file, such as conf/streaming.yaml")
    parser.add_argument("--profile", help="profile file; default: INTENTREC_PROFILE or conf/profiles/local.yaml")
    parser.add_argument("--start", type=date.fromisoformat, required=True, help="first service date, YYYY-MM-DD")
    parser.add_argument("--end", type=date.fromisoformat, required=True, help="service date after the last")
    parser.add_argument("--users", type=int, default=Settings.users)
    parser.add_argument("--titles", type=int, default=Settings.titles, help="size of the back catalogue")
    parser.add_argument("--seed", type=int, default=Settings.seed)
    parser.add_argument("--world", choices=WORLDS, default=Settings.world)
    return parser.parse_args()


def main() -> None:
    """Simulate and say what was written.

    Raises:
        PipelineError: wrong settings, or a landing zone that is not a local folder or holds another world.
    """
    args = _arguments()
    domain, profile = load_domain(args.config), load_profile(args.profile)
    for key, folder in (("landing", profile.landing), ("work", profile.work)):
        if "://" in folder:
            raise PipelineError(f"profile {profile.name}: {key} {folder} is no local folder; simulate, then copy")
    settings = Settings.from_domain(domain, users=args.users, titles=args.titles, seed=args.seed, world=args.world)
    landing = Path(profile.landing) / domain.domain
    truth = Path(profile.work) / "truth" / domain.domain
    summary = simulate(settings, args.start, args.end, landing, truth, progress=True)
    outcomes = ", ".join(f"{outcome} {count:,}" for outcome, count in sorted(summary.outcomes.items()))
    print(
        f"[simulator {args.start}..{args.end}] world {args.world}: {summary.outcomes.total():,} raw rows ({outcomes})"
    )
    print(f"  of {args.users:,} users in {summary.sessions:,} sessions; {summary.catalogue_rows:,} catalogue rows")
    print(f"  landing {landing}\n  truth   {truth}")


if __name__ == "__main__":
    try:
        main()
    except PipelineError as error:
        print(f"[simulator] FAILED: {error}", file=sys.stderr)
        sys.exit(1)
