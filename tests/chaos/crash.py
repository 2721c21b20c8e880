"""A seeded chaos run: complete weeks under blows, beside the same weeks undisturbed.

A quiet week comes before them: without it the first one would have nothing to train on, to judge or to publish.
After every blow each table must be wholly as before the job or wholly as after it; after the rerun every table must
equal the undisturbed run's, nothing may be registered or published twice, and a training that left a checkpoint must
have gone on from it.
"""

import hashlib
import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import yaml

from intentrec.calendar import WEEK
from intentrec.config import ROOT
from intentrec.contracts import RELEASES, TABLES
from intentrec.errors import PipelineError
from intentrec.local.progress import Progress
from intentrec.local.terminal import console, grid
from intentrec.registry.versions import Registry
from intentrec.storage import delta
from intentrec.storage.runs import code_version
from tests.chaos.faults import BLOWS, Blow, Service, Struck, said, struck, unfinished

JOBS = ("ingest", "build_interactions", "build_sequences", "train", "gate", "publish")
TO_LEARN_FROM = JOBS[:3]
WENT_ON = ("going on after epoch", "were trained before")  # what a training says that does not begin anew
SURVIVED = ("two at once", "kill a Python worker")  # blows that a job mostly ends well under
PAGE = """# {times} blows

Made by `{command}`, code `{code}`, on a simulated service.
Every table was as undisturbed after the reruns, nothing was registered or published twice, and {resumed} trainings
went on from a checkpoint; otherwise the command fails and writes nothing. Every blow, and what the job said, is in
[{name}]({name}).

"""
IDENTITY = ("release_id", "as_of", "active")  # of a release; versions and run ids are of one home


def contents(service: Service) -> dict[str, str]:
    """Hash of every table's rows, whatever their order; and how many model versions are registered.

    A table without rows counts as none: it is made a moment before its first rows.
    """
    root = f"{service.profile.warehouse}/{service.domain.domain}"
    found = {}
    for table in TABLES.values():
        if table.name == "run_ledger" or not delta.exists(root, table):
            continue
        columns = list(IDENTITY) if table is RELEASES else None
        rows = delta.Snapshot(root, table).rows(columns=columns).to_pylist()
        if not rows:
            continue
        lines = sorted(json.dumps(row, sort_keys=True, default=_plain) for row in rows)
        found[table.name] = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
    found["registered versions"] = str(len(Registry(service.profile, service.domain).versions()))
    return found


def _plain(value: object) -> object:
    return sorted(value.items()) if isinstance(value, dict) else str(value)


@dataclass(frozen=True)
class Calm:
    """What the undisturbed run left after each job, and how long the job took."""

    contents: Mapping[tuple[date, str], Mapping[str, str]]
    seconds: Mapping[str, float]


@dataclass
class Report:
    """Every blow and what came of it."""

    seed: int
    struck: list[Struck] = field(default_factory=list)
    resumed: int = 0  # trainings that went on from a checkpoint

    def table(self) -> list[dict[str, str | int]]:
        """Kind of blow by job: times, and how the job ended."""
        rows: dict[tuple[str, str], dict[str, int]] = {}
        for each in self.struck:
            counts = rows.setdefault((each.blow.kind, each.blow.job), {})
            counts[each.ended] = counts.get(each.ended, 0) + 1
        return [
            {"blow": kind, "job": job, "times": sum(counts.values()), **counts}
            for (kind, job), counts in sorted(rows.items())
        ]


def crash(home: Path, weeks: int, times: int, seed: int, users: int, progress: Progress) -> Report:
    """After a quiet week run `weeks` weeks twice, once under `times` blows, in an empty folder `home`.

    Raises:
        PipelineError: a table was neither as before nor as after a job, or not as undisturbed after the rerun, a
            training began anew beside its checkpoint, or a job failed without a blow. The message says after which
            blow.
    """
    progress.say("a quiet week to learn from")
    calm, shaken = twins(home, 1 + weeks, users, seed, TO_LEARN_FROM)
    first = calm.domain.calendar.history_start
    starts = [first + WEEK * (1 + number) for number in range(weeks)]
    before: Mapping[str, str] = contents(shaken)
    progress.say(f"{weeks} undisturbed weeks")
    known = _undisturbed(calm, starts, progress)
    report = Report(seed)
    for week, job, blows in planned(starts, times, seed):
        after = known.contents[week, job]
        for blow in blows:
            begun = unfinished(shaken)
            found = struck(shaken, blow, known.seconds[job])
            report.struck.append(found)
            report.resumed += bool(begun) and _said_so(said(shaken))
            progress.say(f"blow {len(report.struck)} of {times}: {found}")
            _require_whole(contents(shaken), before, after, f"after {found}")
        begun = unfinished(shaken)
        told = run_job(shaken, job, week)
        if job == "train":
            report.resumed += went_on(begun, told)
        if (left := contents(shaken)) != after:
            raise PipelineError(f"{job} of {week} after its blows left {differences(left, after)}; seed {seed}")
        before = after
    progress.say(
        f"{len(report.struck)} blows; every table is as undisturbed, nothing was registered or published twice, "
        f"{report.resumed} trainings went on from a checkpoint"
    )
    return report


def twins(home: Path, weeks: int, users: int, seed: int, jobs: Sequence[str] = ()) -> tuple[Service, Service]:
    """Two homes in an empty folder, with the same small world in their landing zones; `jobs` have done its first week.

    Raises:
        PipelineError: the folder is not empty, or the simulator or a job failed.
    """
    if home.exists() and any(home.iterdir()):
        raise PipelineError(f"{home} is not empty: the run compares homes that it makes itself; remove it")
    config = _small_domain(home)
    calm, shaken = Service(home / "calm", config), Service(home / "shaken", config)
    first = calm.domain.calendar.history_start
    _simulate(calm, first, first + WEEK * weeks, users, seed)
    for job in jobs:
        run_job(calm, job, first)
    shutil.copytree(calm.home, shaken.home)
    return calm, shaken


def went_on(begun: list[Path], told: str) -> bool:
    """Whether a training had checkpoints before it; `told` is what it said then.

    Raises:
        PipelineError: it had, and began anew.
    """
    if begun and not _said_so(told):
        raise PipelineError(f"a training began anew beside {begun[0]}")
    return bool(begun)


def _said_so(told: str) -> bool:
    return any(words in told for words in WENT_ON)


def write(report: Report, command: str, path: Path) -> None:
    """Print the table of blows; keep it, with every blow, as JSON in `path` and as a page beside it."""
    rows = report.table()
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [[str(row.get(name, "")) for name in names] for row in rows]
    table = grid(f"{len(report.struck)} blows, seed {report.seed}", *names)
    for line in lines:
        table.add_row(*line)
    console.print(table)
    content = {"command": command, "code": code_version(), "seed": report.seed, "resumed": report.resumed}
    content |= {"table": rows, "blows": [str(each) for each in report.struck]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    page = PAGE.format(times=len(report.struck), name=path.name, **content)
    cells = [names, ["---", "---", *["---:"] * (len(names) - 2)], *lines]
    page += "".join(f"| {' | '.join(line)} |\n" for line in cells)
    path.with_suffix(".md").write_text(page, encoding="utf-8")


def planned(weeks: list[date], times: int, seed: int) -> Iterator[tuple[date, str, list[Blow]]]:
    """Each job of each week with its blows: as many for each as `times` allows, their kind and moment drawn.

    What a job is likely to end well under comes last: after it there is nothing left to disturb.
    """
    dice = random.Random(seed)
    steps = [(week, job) for week in weeks for job in JOBS]
    for number, (week, job) in enumerate(steps):
        count = times * (number + 1) // len(steps) - times * number // len(steps)
        kinds = [kind for kind, jobs in BLOWS.items() if job in jobs]
        blows = [Blow(dice.choice(kinds), job, week, dice.uniform(0.05, 1.0)) for _ in range(count)]
        yield week, job, sorted(blows, key=lambda blow: (blow.kind in SURVIVED, blow.moment))


def _undisturbed(service: Service, weeks: list[date], progress: Progress) -> Calm:
    left, seconds = {}, {}
    for week in weeks:
        for job in JOBS:
            began = time.monotonic()
            run_job(service, job, week)
            seconds[job] = time.monotonic() - began
            left[week, job] = contents(service)
        progress.say(f"week {week} undisturbed: {sum(seconds.values()):.0f} s")
    return Calm(left, seconds)


def run_job(service: Service, job: str, start: date, end: date | None = None) -> str:
    """Run a job over a week, or until `end`, and return what it said.

    Raises:
        PipelineError: it failed.
    """
    command = service.command(job, start, end)
    done = subprocess.run(command, cwd=ROOT, env=service.environment(), capture_output=True, text=True)
    if done.returncode not in (0, 99):
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-12:])
        raise PipelineError(f"{job} of {start} failed without a blow:\n{tail}")
    return done.stdout


def _require_whole(found: Mapping[str, str], before: Mapping[str, str], after: Mapping[str, str], when: str) -> None:
    names = {**found, **before}  # a table that is gone is torn, too
    torn = [name for name in names if found.get(name) not in (before.get(name), after.get(name))]
    if torn:
        raise PipelineError(f"{', '.join(torn)} neither as before nor as after the job, {when}")


def differences(found: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    """Names of what differs between two homes' contents."""
    names = [name for name in {**found, **wanted} if found.get(name) != wanted.get(name)]
    return f"{', '.join(names)} otherwise than undisturbed"


def _small_domain(home: Path) -> Path:
    """The streaming domain with a model that trains in seconds and a gate that anything passes."""
    domain = yaml.safe_load((ROOT / "conf" / "streaming.yaml").read_text(encoding="utf-8"))
    domain["calendar"]["censored_weeks"] = 0
    domain["sequences"]["length"] = 20
    domain["model"] |= {"dim": 16, "dim_intent": 8, "layers": 1}
    domain["training"] |= {"epochs": 15, "patience": 15}  # long enough to be killed between two of them
    domain["gate"] |= {"naive_baselines": [], "bootstrap": 50}
    domain["publishing"] |= {"top_k": 5, "clusters": 2}
    home.mkdir(parents=True, exist_ok=True)
    path = home / "streaming.yaml"
    path.write_text(yaml.safe_dump(domain, sort_keys=False), encoding="utf-8")
    return path


def _simulate(service: Service, start: date, end: date, users: int, seed: int) -> None:
    command = [sys.executable, "-m", "simulator", "--config", str(service.config)]
    command += ["--start", str(start), "--end", str(end), "--users", str(users), "--titles", "60", "--seed", str(seed)]
    done = subprocess.run(command, cwd=ROOT, env=service.environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise PipelineError(f"the simulator failed: {done.stderr.strip()[-500:]}")
