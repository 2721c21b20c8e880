"""Inject one fault into a job, tell how the job ended, and undo the fault's effect on the machine."""

import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import psutil
import yaml

from intentrec.calendar import DAY, WEEK
from intentrec.config import ROOT, Domain, Profile, load_domain, load_file
from intentrec.contracts import ENGAGEMENT_EVENTS, INTERACTIONS, SEQUENCES, Table
from intentrec.entry import SKIPPED
from intentrec.errors import PipelineError
from intentrec.logging import UNEXPECTED
from intentrec.storage import delta
from intentrec.training.checkpoint import CHECKPOINT

JOB_KILLED = "process killed (job)"
TRAINER_KILLED = "process killed (trainer)"  # as soon as it writes a checkpoint
JVM_KILLED = "process killed (JVM)"
WORKER_KILLED = "process killed (Python worker)"
SCHEDULER_KILLED = "process killed (scheduler)"  # of Airflow, see tests.chaos.outages
DISK_FULL = "disk full"
READ_ONLY = "read-only warehouse"
NO_MLFLOW = "MLflow unavailable"
FILE_LOST = "data file lost"
TWO_RUNS = "two runs at once"

SPARK_JOBS = ("ingest", "build_interactions", "build_sequences", "publish")
MODEL_JOBS = ("train", "gate", "publish")
# Kind of fault -> the jobs that it can hit.
FAULTS: dict[str, Sequence[str]] = {
    JOB_KILLED: (*SPARK_JOBS, "train", "gate"),
    TRAINER_KILLED: ("train",),
    JVM_KILLED: SPARK_JOBS,
    WORKER_KILLED: ("publish",),
    DISK_FULL: (*SPARK_JOBS, "train"),
    READ_ONLY: SPARK_JOBS,
    NO_MLFLOW: MODEL_JOBS,
    FILE_LOST: ("build_interactions", "build_sequences", "publish"),
    TWO_RUNS: (*SPARK_JOBS, "train"),
}
# Job -> a table that it reads, and the job that writes this table.
INPUTS: dict[str, tuple[Table, str]] = {
    "build_interactions": (ENGAGEMENT_EVENTS, "ingest"),
    "build_sequences": (INTERACTIONS, "build_interactions"),
    "publish": (SEQUENCES, "build_sequences"),
}

# How a job ended.
KILLED = "killed"
SUCCEEDED = "succeeded"
WITH_MESSAGE = "failed with a message"
WITHOUT_MESSAGE = "failed without a message"
BOTH_SUCCEEDED = "both succeeded"
ONE_SUCCEEDED = "one succeeded"


@dataclass(frozen=True)
class Service:
    """The folder (INTENTREC_HOME) and the domain file with which the jobs run."""

    home: Path
    config: Path

    @property
    def profile(self) -> Profile:
        """The local profile, with everything below the home."""
        return load_file(ROOT / "conf" / "profiles" / "local.yaml", Profile, {"home": str(self.home)})

    @property
    def domain(self) -> Domain:
        """The domain file's settings."""
        return load_domain(self.config)

    @property
    def log(self) -> Path:
        """Output of the last job that `inject` started."""
        return self.home / "job.log"

    def command(self, job: str, start: date, end: date | None = None) -> list[str]:
        """The command of a job over a week, or over all weeks until `end`."""
        interval = ["--start", str(start), "--end", str(end or start + WEEK)]
        return [sys.executable, "-m", f"jobs.{job}", *interval, "--config", str(self.config)]

    def environment(self) -> dict[str, str]:
        """The environment of its jobs."""
        return {**os.environ, "INTENTREC_HOME": str(self.home), "INTENTREC_LOG": "text"}

    def checkpoints(self) -> list[Path]:
        """Checkpoints of trainings that did not end."""
        return sorted((Path(self.profile.work) / "training").rglob(CHECKPOINT))


@dataclass(frozen=True)
class Fault:
    """One fault. A kill happens after the share `moment` of the seconds that the job takes without faults."""

    kind: str
    job: str
    week: date
    moment: float

    def __str__(self) -> str:
        return f"{self.kind}, {self.job} of {self.week} at {self.moment:.0%}"


@dataclass(frozen=True)
class Outcome:
    """How the job ended under a fault, and the last message of its failure."""

    fault: Fault
    ending: str
    message: str = ""

    def __str__(self) -> str:
        text = f"{self.fault}: {self.ending}"
        return f"{text} ({self.message[:160]})" if self.message else text


@dataclass(frozen=True)
class _Started:
    """A started job, and the process that writes its log."""

    job: subprocess.Popen
    log: subprocess.Popen | None = None


def inject(service: Service, fault: Fault, seconds: float) -> Outcome:
    """Run a job under a fault, then undo what the fault did to the machine.

    Args:
        service: where the job runs.
        fault: what to inject.
        seconds: how long the job takes without a fault.

    Raises:
        PipelineError: both of two runs failed, or the rerun of a job did not restore a lost data file.
    """
    if fault.kind == READ_ONLY:
        with _read_only(Path(service.profile.warehouse)):
            return _outcome(service, fault, _wait(_start(service, fault, drop_root=True)))
    if fault.kind == DISK_FULL:
        limit = 1024 * random.Random(str(fault)).randint(1, 64)
        return _outcome(service, fault, _wait(_start(service, fault, largest_file=limit)))
    if fault.kind == NO_MLFLOW:
        return _outcome(service, fault, _wait(_start(service, fault, profile=_without_mlflow(service))))
    if fault.kind == FILE_LOST:
        return _lose_file(service, fault)
    if fault.kind == TWO_RUNS:
        return _run_twice(service, fault)
    return _kill(service, fault, seconds)


def _kill(service: Service, fault: Fault, seconds: float) -> Outcome:
    before = _checkpoint_times(service)
    started = _start(service, fault)
    until = time.monotonic() + fault.moment * seconds

    def due() -> bool:
        by_time = fault.kind != TRAINER_KILLED
        return time.monotonic() >= until if by_time else bool(_checkpoint_times(service) - before)

    while not due() and started.job.poll() is None:
        time.sleep(0.02)
    for process in TARGETS[fault.kind](started.job.pid):
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    return _outcome(service, fault, _wait(started))


def _checkpoint_times(service: Service) -> set[int]:
    """When the checkpoints were written, in nanoseconds."""
    with suppress(FileNotFoundError):  # a training that ends deletes its checkpoint
        return {path.stat().st_mtime_ns for path in service.checkpoints()}
    return set()


def _tree(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _descendants(pid: int, name: str) -> list[psutil.Process]:
    """Descendants of a process whose command line contains `name`."""
    found = []
    for process in _tree(pid)[1:]:
        with suppress(psutil.Error):
            if name in " ".join(process.cmdline()):
                found.append(process)
    return found


def _jvm(pid: int) -> list[psutil.Process]:
    return [process for process in _descendants(pid, "org.apache.spark") if process.name() == "java"]


def _worker(pid: int) -> list[psutil.Process]:
    """One forked worker; before the first fork, the daemon that forks the workers."""
    return _descendants(pid, "pyspark.daemon")[-1:]


# Kind of fault -> the processes to kill, given the job's process id.
TARGETS: dict[str, Callable[[int], list[psutil.Process]]] = {
    JOB_KILLED: _tree,
    TRAINER_KILLED: _tree,
    JVM_KILLED: _jvm,
    WORKER_KILLED: _worker,
}


def _start(
    service: Service, fault: Fault, largest_file: int = 0, drop_root: bool = False, profile: Path | None = None
) -> _Started:
    command = service.command(fault.job, fault.week)
    if drop_root and os.geteuid() == 0:  # root can write everywhere unless this capability is dropped
        command = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-all", *command]
    environment = service.environment() | {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    if profile is not None:
        environment["INTENTREC_PROFILE"] = str(profile)

    def limit() -> None:
        if largest_file:  # a write to a file beyond this size (bytes) fails as on a full disk
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    # Through a pipe: the limit on file sizes would also apply to a log that the job writes itself.
    with service.log.open("wb") as file:
        log = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=file)
    assert log.stdin is not None
    with log.stdin as pipe:
        job = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, preexec_fn=limit, start_new_session=True
        )
    return _Started(job, log)


def _wait(started: _Started) -> int:
    """The exit status of a job, once none of its processes is left."""
    status = started.job.wait()
    for process in _of_session(started.job.pid):  # a process that outlives its parent must not go on writing
        with suppress(psutil.NoSuchProcess):
            process.kill()
            process.wait(10)
    if started.log is not None:
        started.log.wait()
    return status


def _of_session(session: int) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError, PermissionError):
            if os.getsid(process.pid) == session:
                found.append(process)
    return found


def _outcome(service: Service, fault: Fault, status: int) -> Outcome:
    text = service.log.read_text(errors="replace")
    messages = [line for line in text.splitlines() if "FAILED" in line and UNEXPECTED not in line]
    if status in (0, SKIPPED):
        return Outcome(fault, SUCCEEDED)
    if status < 0:
        return Outcome(fault, KILLED)
    return Outcome(fault, WITH_MESSAGE, messages[-1]) if messages else Outcome(fault, WITHOUT_MESSAGE)


def _lose_file(service: Service, fault: Fault) -> Outcome:
    """Delete a data file that the job reads, run the job, then run the job that wrote the file again."""
    table, writer = INPUTS[fault.job]
    warehouse = delta.warehouse_of(service.profile, service.domain)
    first = fault.week + WEEK if table is SEQUENCES else fault.week
    files = delta.Snapshot(warehouse, table).files(first, first + (DAY if table is SEQUENCES else WEEK))
    chosen = random.Random(str(fault)).choice(sorted(file.path for file in files))
    (Path(warehouse) / table.name / chosen).unlink()
    outcome = _outcome(service, fault, _wait(_start(service, fault)))
    again = Fault(fault.kind, writer, fault.week, fault.moment)
    status = _wait(_start(service, again))
    if status:
        raise PipelineError(
            f"{writer} of {fault.week} did not restore {table.name}: {_outcome(service, again, status)}"
        )
    return outcome


def _run_twice(service: Service, fault: Fault) -> Outcome:
    """Run the job twice at once. One must succeed; the other finds equal rows, or fails because of the first."""
    other = subprocess.Popen(
        service.command(fault.job, fault.week),
        cwd=ROOT,
        env=service.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    outcome = _outcome(service, fault, _wait(_start(service, fault)))
    status = _wait(_Started(other))
    if status and outcome.ending != SUCCEEDED:
        raise PipelineError(f"both runs of {fault.job} over {fault.week} failed: {outcome}")
    both = outcome.ending == SUCCEEDED and not status
    return Outcome(fault, BOTH_SUCCEEDED if both else ONE_SUCCEEDED, outcome.message)


def _without_mlflow(service: Service) -> Path:
    """A profile whose MLflow is an address where no server listens."""
    text = yaml.safe_load((ROOT / "conf" / "profiles" / "local.yaml").read_text(encoding="utf-8"))
    path = service.home / "without_mlflow.yaml"
    path.write_text(yaml.safe_dump({**text, "mlflow": "http://127.0.0.1:9"}), encoding="utf-8")
    return path


@contextmanager
def _read_only(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)  # before the first job it does not exist
    modes = {path: path.stat().st_mode for path in [folder, *folder.rglob("*")]}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    try:
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
