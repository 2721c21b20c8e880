"""Run complete weeks under random faults, and compare them with the same weeks run without faults.

A first week without faults comes before them, because the first training, gate and publication need earlier data.
After every fault, each table must be as before the job or as after it, never a mixture. After the rerun, every table
must equal the reference, nothing may be registered or published twice, and a training with a checkpoint must have
continued from it.
"""

import hashlib
import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import yaml

from intentrec.calendar import WEEK
from intentrec.config import ROOT
from intentrec.contracts import RELEASES, RUN_LEDGER, TABLES
from intentrec.entry import SKIPPED
from intentrec.errors import PipelineError
from intentrec.local.progress import Progress
from intentrec.registry.versions import Registry
from intentrec.storage import delta
from tests.chaos.faults import FAULTS, TWO_RUNS, WORKER_KILLED, Fault, Service, inject
from tests.chaos.report import Report

JOBS = ("ingest", "build_interactions", "build_sequences", "train", "gate", "publish")
FIRST_WEEK_JOBS = JOBS[:3]
RESUMED = ("continuing after epoch", "were trained before")  # what a training prints if it continues
OFTEN_SUCCEEDS = (TWO_RUNS, WORKER_KILLED)  # faults under which a job usually succeeds
RELEASE_COLUMNS = ("release_id", "as_of", "active")  # the other columns of a release differ between homes


@dataclass(frozen=True)
class Reference:
    """The state of the tables after each job of each week without faults, and the seconds of each job."""

    states: Mapping[tuple[date, str], Mapping[str, str]]
    seconds: Mapping[str, float]


def crash(home: Path, weeks: int, times: int, seed: int, users: int, progress: Progress) -> Report:
    """After a week without faults, run `weeks` weeks twice, once without faults and once with `times` faults.

    Args:
        home: an empty folder.
        weeks: number of weeks that are compared.
        times: number of faults.
        seed: of the simulated data and of the faults.
        users: of the simulated service.
        progress: prints what is done.

    Raises:
        PipelineError: a table was neither as before nor as after a job, or not as in the reference after the rerun; a
            training began anew despite a checkpoint; or a job failed without a fault. The message names the fault.
    """
    progress.say("a first week without faults")
    reference, faulty = pair_of_homes(home, 1 + weeks, users, seed, FIRST_WEEK_JOBS)
    first = reference.domain.calendar.history_start
    starts = [first + WEEK * (1 + number) for number in range(weeks)]
    before: Mapping[str, str] = state_of(faulty)
    progress.say(f"{weeks} weeks without faults")
    expected = _run_reference(reference, starts, progress)
    report = Report(seed)
    for week, job, faults in plan(starts, times, seed):
        after = expected.states[week, job]
        for fault in faults:
            checkpoints = faulty.checkpoints()
            outcome = inject(faulty, fault, expected.seconds[job])
            report.outcomes.append(outcome)
            report.resumed += bool(checkpoints) and _says_resumed(faulty.log.read_text(errors="replace"))
            progress.say(f"fault {len(report.outcomes)} of {times}: {outcome}")
            _require_atomic(state_of(faulty), before, after, f"after {outcome}")
        checkpoints = faulty.checkpoints()
        output = run_job(faulty, job, week)
        if job == "train":
            report.resumed += require_resumed(checkpoints, output)
        if (found := state_of(faulty)) != after:
            raise PipelineError(f"{job} of {week} after its faults: {differences(found, after)}; seed {seed}")
        before = after
    progress.say(
        f"{len(report.outcomes)} faults; every table equals the reference, nothing was registered or published twice, "
        f"{report.resumed} trainings continued from a checkpoint"
    )
    return report


def plan(weeks: list[date], times: int, seed: int) -> Iterator[tuple[date, str, list[Fault]]]:
    """Each job of each week with its faults: `times` faults in equal shares, with random kinds and moments.

    Faults under which the job usually succeeds come last, because after a success no work is left.
    """
    rnd = random.Random(seed)
    steps = [(week, job) for week in weeks for job in JOBS]
    for number, (week, job) in enumerate(steps):
        count = times * (number + 1) // len(steps) - times * number // len(steps)
        kinds = [kind for kind, jobs in FAULTS.items() if job in jobs]
        faults = [Fault(rnd.choice(kinds), job, week, rnd.uniform(0.05, 1.0)) for _ in range(count)]
        yield week, job, sorted(faults, key=lambda fault: (fault.kind in OFTEN_SUCCEEDS, fault.moment))


def pair_of_homes(home: Path, weeks: int, users: int, seed: int, jobs: Sequence[str] = ()) -> tuple[Service, Service]:
    """Two homes in an empty folder, a reference and a faulty one, with the same small world in their landing zones.

    In both, `jobs` have processed the first week. For the other arguments see `crash`.

    Raises:
        PipelineError: the folder is not empty, or the simulator or a job failed.
    """
    if home.exists() and any(home.iterdir()):
        raise PipelineError(f"{home} is not empty; remove it, because two new homes are made there")
    config = _small_domain(home)
    reference, faulty = Service(home / "reference", config), Service(home / "faulty", config)
    first = reference.domain.calendar.history_start
    _simulate(reference, first, first + WEEK * weeks, users, seed)
    for job in jobs:
        run_job(reference, job, first)
    shutil.copytree(reference.home, faulty.home)
    return reference, faulty


def state_of(service: Service) -> dict[str, str]:
    """A hash of every table's rows, whatever their order, and the number of registered model versions.

    A table without rows counts as absent: it is created a moment before its first rows are written.
    """
    warehouse = delta.warehouse_of(service.profile, service.domain)
    state = {}
    for table in TABLES.values():
        if table is RUN_LEDGER or not delta.exists(warehouse, table):
            continue
        columns = RELEASE_COLUMNS if table is RELEASES else None
        rows = delta.Snapshot(warehouse, table).rows(columns=columns).to_pylist()
        if rows:
            lines = sorted(json.dumps(row, sort_keys=True, default=_plain) for row in rows)
            state[table.name] = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
    state["registered versions"] = str(len(Registry(service.profile, service.domain).versions()))
    return state


def _plain(value: object) -> object:
    return sorted(value.items()) if isinstance(value, dict) else str(value)


def differences(found: Mapping[str, str], expected: Mapping[str, str]) -> str:
    """Which parts of two states differ, in words."""
    names = [name for name in {**found, **expected} if found.get(name) != expected.get(name)]
    return f"{', '.join(names)} not as in the reference"


def _require_atomic(found: Mapping[str, str], before: Mapping[str, str], after: Mapping[str, str], when: str) -> None:
    names = {**found, **before}  # a missing table is an error, too
    partial = [name for name in names if found.get(name) not in (before.get(name), after.get(name))]
    if partial:
        raise PipelineError(f"{', '.join(partial)} neither as before nor as after the job, {when}")


def require_resumed(checkpoints: list[Path], output: str) -> bool:
    """Whether a training had checkpoints when it began; `output` is what it printed.

    Raises:
        PipelineError: it had, but began anew.
    """
    if checkpoints and not _says_resumed(output):
        raise PipelineError(f"a training began anew despite the checkpoint {checkpoints[0]}")
    return bool(checkpoints)


def _says_resumed(output: str) -> bool:
    return any(words in output for words in RESUMED)


def run_job(service: Service, job: str, start: date, end: date | None = None) -> str:
    """Run a job over a week, or until `end`, and return what it printed.

    Raises:
        PipelineError: it failed.
    """
    command = service.command(job, start, end)
    done = subprocess.run(command, cwd=ROOT, env=service.environment(), capture_output=True, text=True, check=False)
    if done.returncode not in (0, SKIPPED):
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-12:])
        raise PipelineError(f"{job} of {start} failed without a fault:\n{tail}")
    return done.stdout


def _run_reference(service: Service, weeks: list[date], progress: Progress) -> Reference:
    states, seconds = {}, {}
    for week in weeks:
        for job in JOBS:
            began = time.monotonic()
            run_job(service, job, week)
            seconds[job] = time.monotonic() - began
            states[week, job] = state_of(service)
        progress.say(f"week {week} without faults: {sum(seconds.values()):.0f} s")
    return Reference(states, seconds)


def _small_domain(home: Path) -> Path:
    """The streaming domain with a model that trains in seconds and a gate that every model passes."""
    domain = yaml.safe_load((ROOT / "conf" / "streaming.yaml").read_text(encoding="utf-8"))
    domain["calendar"]["censored_weeks"] = 0
    domain["sequences"]["length"] = 20
    domain["model"] |= {"dim": 16, "dim_intent": 8, "layers": 1}
    domain["training"] |= {"epochs": 15, "patience": 15}  # long enough to be killed between two epochs
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
