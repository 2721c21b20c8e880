"""Blows that a job must survive or fail of, clearly; each leaves the machine as it was."""

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
from intentrec.contracts import ENGAGEMENT_EVENTS, INTERACTIONS, SEQUENCES
from intentrec.errors import PipelineError
from intentrec.logging import UNEXPECTED
from intentrec.storage import delta
from intentrec.training.checkpoint import CHECKPOINT

SPARK_JOBS = ("ingest", "build_interactions", "build_sequences", "publish")
MODEL_JOBS = ("train", "gate", "publish")
# Kind -> the jobs that it can hit.
BLOWS: dict[str, Sequence[str]] = {
    "kill everything": (*SPARK_JOBS, "train", "gate"),
    "kill the trainer": ("train",),  # as soon as it writes a checkpoint
    "kill the JVM": SPARK_JOBS,
    "kill a Python worker": ("publish",),
    "full disk": (*SPARK_JOBS, "train"),
    "read-only warehouse": SPARK_JOBS,
    "MLflow down": MODEL_JOBS,
    "data file lost": ("build_interactions", "build_sequences", "publish"),
    "two at once": (*SPARK_JOBS, "train"),
}
# Job -> a table that it reads, and the job that writes it.
LOST = {
    "build_interactions": (ENGAGEMENT_EVENTS, "ingest"),
    "build_sequences": (INTERACTIONS, "build_interactions"),
    "publish": (SEQUENCES, "build_sequences"),
}


@dataclass(frozen=True)
class Service:
    """A home in which the weeks are run."""

    home: Path
    config: Path

    @property
    def profile(self) -> Profile:
        """Everything below the home."""
        return load_file(ROOT / "conf" / "profiles" / "local.yaml", Profile, {"home": str(self.home)})

    @property
    def domain(self) -> Domain:
        """The domain file that the jobs are given."""
        return load_domain(self.config)

    def command(self, job: str, start: date, end: date | None = None) -> list[str]:
        """A job over a week, or over all weeks until `end`."""
        interval = ["--start", str(start), "--end", str(end or start + WEEK)]
        return [sys.executable, "-m", f"jobs.{job}", *interval, "--config", str(self.config)]

    def environment(self) -> dict[str, str]:
        """Of its jobs."""
        return {**os.environ, "INTENTREC_HOME": str(self.home), "INTENTREC_LOG": "text"}


@dataclass(frozen=True)
class Running:
    """A job at work, and the process that keeps what it says."""

    job: subprocess.Popen
    log: subprocess.Popen | None = None


@dataclass(frozen=True)
class Blow:
    """One blow: `moment` is the share of the job's undisturbed seconds after which it falls, if time decides."""

    kind: str
    job: str
    week: date
    moment: float


@dataclass(frozen=True)
class Struck:
    """A blow and how the job ended: killed, failed and said why, failed without a word, or survived."""

    blow: Blow
    ended: str
    said: str = ""

    def __str__(self) -> str:
        blow = self.blow
        text = f"{blow.kind}, {blow.job} of {blow.week} at {blow.moment:.0%}: {self.ended}"
        return f"{text} ({self.said[:160]})" if self.said else text


def struck(service: Service, blow: Blow, seconds: float) -> Struck:
    """Run the job of a blow under it, then undo what the blow did to the machine. `seconds`: what the job takes."""
    if blow.kind == "read-only warehouse":
        with _read_only(Path(service.profile.warehouse)):
            return _ended(service, blow, _wait(_start(service, blow, drop_root=True)))
    if blow.kind == "full disk":
        return _ended(
            service, blow, _wait(_start(service, blow, largest_file=1024 * random.Random(str(blow)).randint(1, 64)))
        )
    if blow.kind == "MLflow down":
        return _ended(service, blow, _wait(_start(service, blow, profile=_without_mlflow(service))))
    if blow.kind in WHOLE:
        return WHOLE[blow.kind](service, blow)
    before = _checkpoints(service)
    running = _start(service, blow)
    until = time.monotonic() + blow.moment * seconds

    def due() -> bool:
        by_time = blow.kind != "kill the trainer"
        return time.monotonic() >= until if by_time else bool(_checkpoints(service) - before)

    while not due() and running.job.poll() is None:
        time.sleep(0.02)
    for victim in VICTIMS[blow.kind](running.job.pid):
        with suppress(psutil.NoSuchProcess):
            victim.send_signal(signal.SIGKILL)
    return _ended(service, blow, _wait(running))


def unfinished(service: Service) -> list[Path]:
    """Checkpoints of trainings that did not end."""
    return sorted((Path(service.profile.work) / "training").rglob(CHECKPOINT))


def said(service: Service) -> str:
    """All that the job of the last blow said."""
    return _log(service).read_text(errors="replace")


def _checkpoints(service: Service) -> set[int]:
    """When they were written."""
    with suppress(FileNotFoundError):  # gone at this moment, with the end of their training
        return {path.stat().st_mtime_ns for path in unfinished(service)}
    return set()


def _tree(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _named(pid: int, name: str) -> list[psutil.Process]:
    found = []
    for process in _tree(pid)[1:]:
        try:
            if name in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def _a_worker(pid: int) -> list[psutil.Process]:
    """A forked worker; the daemon that forks them where there is none yet."""
    return _named(pid, "pyspark.daemon")[-1:]


VICTIMS: dict[str, Callable[[int], list[psutil.Process]]] = {
    "kill everything": _tree,
    "kill the trainer": _tree,
    "kill the JVM": lambda pid: [process for process in _named(pid, "org.apache.spark") if process.name() == "java"],
    "kill a Python worker": _a_worker,
}


def _start(
    service: Service, blow: Blow, largest_file: int = 0, drop_root: bool = False, profile: Path | None = None
) -> Running:
    command = service.command(blow.job, blow.week)
    if drop_root and os.geteuid() == 0:  # root writes wherever it likes, unless that right is taken away
        command = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-all", *command]
    environment = service.environment() | {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    if profile is not None:
        environment["INTENTREC_PROFILE"] = str(profile)

    def limit() -> None:
        if largest_file:  # as on a full disk a write fails; it fails for files beyond this size
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    # Through a pipe: a limit on files would cut a log that the job writes itself.
    with _log(service).open("wb") as file:
        log = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=file)
    assert log.stdin is not None
    with log.stdin as pipe:
        job = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, preexec_fn=limit, start_new_session=True
        )
    return Running(job, log)


def _wait(running: Running) -> int:
    """The job's exit status, once nothing of it runs any more."""
    status = running.job.wait()
    for left in _of_session(running.job.pid):  # what outlived its parent must not write on
        with suppress(psutil.NoSuchProcess):
            left.kill()
            left.wait(10)
    if running.log is not None:
        running.log.wait()
    return status


def _of_session(session: int) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session:
                found.append(process)
        except (psutil.Error, ProcessLookupError, PermissionError):
            continue
    return found


def _ended(service: Service, blow: Blow, status: int) -> Struck:
    why = [line for line in said(service).splitlines() if "FAILED" in line and UNEXPECTED not in line]
    if status in (0, 99):
        return Struck(blow, "survived")
    if status < 0:
        return Struck(blow, "killed")
    return Struck(blow, "failed and said why", why[-1]) if why else Struck(blow, "failed without a word")


def _log(service: Service) -> Path:
    return service.home / "struck.log"


def _lost(service: Service, blow: Blow) -> Struck:
    """Delete a data file that the job reads, run the job, then write the file's week again, which heals it."""
    table, writer = LOST[blow.job]
    warehouse, after = delta.warehouse_of(service.profile, service.domain), blow.week + WEEK
    days = (after, after + DAY) if table is SEQUENCES else (blow.week, after)
    files = sorted(file.path for file in delta.Snapshot(warehouse, table).files(*days))
    Path(warehouse, table.name, random.Random(str(blow)).choice(files)).unlink()
    found = _ended(service, blow, _wait(_start(service, blow)))
    again = Blow(blow.kind, writer, blow.week, blow.moment)
    status = _wait(_start(service, again))
    if status:
        raise PipelineError(f"{writer} of {blow.week} did not heal {table.name}: {_ended(service, again, status)}")
    return found


def _two_at_once(service: Service, blow: Blow) -> Struck:
    """Start the job twice: one wins, the other finds the same rows there already or says that another run won."""
    baseline = subprocess.Popen(
        service.command(blow.job, blow.week),
        cwd=ROOT,
        env=service.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    found = _ended(service, blow, _wait(_start(service, blow)))
    other = _wait(Running(baseline))
    if other and found.ended != "survived":
        raise PipelineError(f"both of two runs of {blow.job} over {blow.week} failed: {found}")
    return Struck(blow, "both succeeded" if found.ended == "survived" and not other else "one won", found.said)


def _without_mlflow(service: Service) -> Path:
    """A profile whose MLflow is a server that nobody runs."""
    text = yaml.safe_load((ROOT / "conf" / "profiles" / "local.yaml").read_text(encoding="utf-8"))
    path = service.home / "without_mlflow.yaml"
    path.write_text(yaml.safe_dump({**text, "mlflow": "http://127.0.0.1:9"}), encoding="utf-8")
    return path


@contextmanager
def _read_only(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)  # before the first job there is none
    modes = {path: path.stat().st_mode for path in [folder, *folder.rglob("*")]}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    try:
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


WHOLE: dict[str, Callable[[Service, Blow], Struck]] = {"data file lost": _lost, "two at once": _two_at_once}
