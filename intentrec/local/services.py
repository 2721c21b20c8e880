"""Airflow and MLflow as background services of this machine, on loopback and with passwords."""

import secrets
import socket
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

import httpx

from intentrec.config import Profile
from intentrec.errors import PipelineError
from intentrec.local import processes
from intentrec.local.airflow_client import Airflow
from intentrec.local.home import BIN, Home

NO_LOG_SERVER = "--skip-serve-logs"
COMPONENTS = (["api-server"], ["scheduler", NO_LOG_SERVER], ["triggerer", NO_LOG_SERVER], ["dag-processor"])


def up_marker(home: Home) -> str:
    """Marker of the processes that `up` started."""
    return f"{home.path}:up"


def backfill_marker(home: Home) -> str:
    """Marker of the Airflow that a backfill started for itself."""
    return f"{home.path}:backfill"


def paused_note(home: Home, dag: str) -> Path:
    """A file that exists while a backfill has unpaused a paused DAG, so that the DAG is paused again afterwards."""
    return home.airflow / "paused" / dag


def require_no_backfill(home: Home) -> None:
    """Check that no backfill has started its own Airflow, because another one would share its database.

    Raises:
        PipelineError: a backfill has.
    """
    if processes.marked(backfill_marker(home)):
        raise PipelineError(
            "a backfill is running with an Airflow of its own, and two Airflows would share one database: wait until "
            "it has ended. If it was interrupted, `make down` stops its processes"
        )


def up(home: Home, profile: Profile) -> None:
    """Start both services unless they run, wait until they respond, and print their addresses.

    Raises:
        PipelineError: a backfill is running, a port is in use, or a service did not start.
    """
    require_no_backfill(home)
    home.prepare()
    marker = up_marker(home)
    if processes.marked(marker):
        print("Already running.")
    else:
        for port in (home.airflow_port, home.mlflow_port):
            require_free(port)
        start_airflow(home, marker)
        _start_mlflow(home, profile, marker)
    try:
        wait_for_airflow(home, marker)
        for note in sorted(paused_note(home, "").glob("*")):  # of a backfill that was interrupted
            Airflow(home).call("PATCH", f"/dags/{note.name}", {"is_paused": True})
            note.unlink()
        _wait(f"MLflow at {home.mlflow_url}", lambda: _answers(home.mlflow_url), marker, home.logs / "mlflow.log")
    except PipelineError:
        processes.stop(marker)
        raise
    print(f"Airflow  {home.airflow_url}\nMLflow   {home.mlflow_url}")
    print(f"user admin, the password of both is in {home.passwords_file} (readable by you only)")
    print("New DAGs are paused: unpause a domain's DAG to have its weekly runs. `make down` stops both.")


def down(home: Home) -> None:
    """Stop everything that `up` or a backfill started, tasks in progress included."""
    count = sum(processes.stop(marker) for marker in (up_marker(home), backfill_marker(home)))
    print(f"Stopped {count} processes." if count else "Nothing was running.")


def start_airflow(home: Home, marker: str, **settings: str) -> None:
    """Start the components of Airflow, as processes with one marker and one log.

    Not by `airflow standalone`: its scheduler and triggerer would serve their logs on every interface of the machine.
    The API server finds the logs in the home.
    """
    environment = home.environment(**settings)
    for component in COMPONENTS:
        processes.start([str(BIN / "airflow"), *component], environment, marker, home.logs / "airflow.log")


def wait_for_airflow(home: Home, marker: str) -> None:
    """Wait until every part of Airflow is healthy.

    Raises:
        PipelineError: it stopped, or was not healthy within five minutes.
    """
    airflow = Airflow(home)
    _wait(f"Airflow at {home.airflow_url}", airflow.healthy, marker, home.logs / "airflow.log")


def require_free(port: int) -> None:
    """Check that a port is free.

    Raises:
        PipelineError: a program listens on it.
    """
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise PipelineError(
                f"port {port} is in use by another program: stop it, or set AIRFLOW_PORT or MLFLOW_PORT to a free one"
            )


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _start_mlflow(home: Home, profile: Profile, marker: str) -> None:
    environment = home.environment() | {
        "MLFLOW_AUTH_CONFIG_PATH": str(home.mlflow_auth()),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    command = [str(BIN / "mlflow"), "server", "--app-name", "basic-auth", "--workers", "1"]
    command += ["--host", "127.0.0.1", "--port", str(home.mlflow_port)]
    command += ["--backend-store-uri", profile.mlflow, "--artifacts-destination", profile.mlflow_artifacts]
    processes.start(command, environment, marker, home.logs / "mlflow.log")


def _answers(url: str) -> bool:
    try:
        answer = httpx.get(url, timeout=5, follow_redirects=True, trust_env=False)
    except httpx.HTTPError:
        return False
    return answer.is_success or answer.status_code == HTTPStatus.UNAUTHORIZED  # it runs and asks for the password


def _wait(what: str, ready: Callable[[], bool], marker: str, log: Path, patience: float = 300) -> None:
    until = time.monotonic() + patience
    while not ready():
        if not processes.marked(marker):
            raise PipelineError(f"{what} stopped while starting; its output is in {log}")
        if time.monotonic() > until:
            raise PipelineError(f"{what} was not ready within {patience:.0f} s; its output is in {log}")
        time.sleep(1)
