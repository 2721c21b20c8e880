"""The embedded Airflow and MLflow under INTENTREC_HOME: settings, databases, pools, passwords."""

import json
import os
import secrets
import shlex
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from intentrec.config import ROOT, home
from intentrec.errors import PipelineError

BIN = Path(sys.executable).parent
# One writer of tables and one training at a time, because each uses all of a small machine.
POOLS = {
    "warehouse": {"slots": 1, "description": "jobs that write tables", "include_deferred": False},
    "gpu": {"slots": 1, "description": "training", "include_deferred": False},
}


@dataclass(frozen=True)
class Home:
    """Where the embedded services keep their state, and the ports they listen on."""

    path: Path
    airflow_port: int = 8080
    mlflow_port: int = 5000

    @classmethod
    def here(cls) -> "Home":
        """The home of INTENTREC_HOME, AIRFLOW_PORT and MLFLOW_PORT, or of their defaults."""
        names = {"airflow_port": "AIRFLOW_PORT", "mlflow_port": "MLFLOW_PORT"}
        return cls(home(), **{field: int(os.environ[name]) for field, name in names.items() if os.environ.get(name)})

    @property
    def airflow(self) -> Path:
        """Airflow's folder, its AIRFLOW_HOME."""
        return self.path / "airflow"

    @property
    def logs(self) -> Path:
        """Folder of the whole output of services and DAG runs."""
        return self.path / "logs"

    @property
    def passwords_file(self) -> Path:
        """Generated passwords by user, readable by the owner only, in the form that Airflow reads."""
        return self.path / "secrets" / "airflow.json"

    @property
    def token_secret_file(self) -> Path:
        """The generated secret with which Airflow's components sign their requests to each other."""
        return self.passwords_file.with_name("airflow_tokens")

    @property
    def airflow_url(self) -> str:
        """Airflow's page."""
        return f"http://127.0.0.1:{self.airflow_port}"

    @property
    def mlflow_url(self) -> str:
        """MLflow's page."""
        return f"http://127.0.0.1:{self.mlflow_port}"

    def environment(self, **settings: str) -> dict[str, str]:
        """This process's environment with Airflow's settings. `settings` adds to them, each named SECTION__KEY."""
        airflow = {
            "CORE__DAGS_FOLDER": str(ROOT / "dags"),
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__EXECUTOR": "LocalExecutor",
            "CORE__PARALLELISM": "2",
            "CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
            "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.passwords_file),
            "CORE__EXECUTION_API_SERVER_URL": f"{self.airflow_url}/execution/",
            # Five processes write to it. On a busy machine, a wait can exceed SQLite's default of five seconds.
            "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.airflow}/airflow.db?timeout=60",
            "LOGGING__BASE_LOG_FOLDER": str(self.airflow / "logs"),
            "LOGGING__JSON_LOGS": "True",
            # Airflow sets the modes of log files itself, whatever the umask is.
            "LOGGING__FILE_TASK_HANDLER_NEW_FOLDER_PERMISSIONS": "0o700",
            "LOGGING__FILE_TASK_HANDLER_NEW_FILE_PERMISSIONS": "0o600",
            # One for all components. Airflow generates it in its settings file, but components that start at the same
            # time as that file is written can take different ones, and then refuse each other.
            "API_AUTH__JWT_SECRET_CMD": f"cat {shlex.quote(str(self.token_secret_file))}",
            "API__HOST": "127.0.0.1",
            "API__PORT": str(self.airflow_port),
            "API__BASE_URL": self.airflow_url,
            "API__WORKERS": "1",
            "DAG_PROCESSOR__REFRESH_INTERVAL": "15",
            # A task waits minutes for an API server that is busy or still starting. Otherwise an outage could use up
            # the task's retries.
            "WORKERS__EXECUTION_API_TIMEOUT": "60",
            "WORKERS__EXECUTION_API_RETRIES": "8",
            **settings,
        }
        return {
            **os.environ,
            **{f"AIRFLOW__{key}": value for key, value in airflow.items()},
            "AIRFLOW_HOME": str(self.airflow),
            "INTENTREC_HOME": str(self.path),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",
            "PYTHONUNBUFFERED": "1",
        }

    def prepare(self) -> None:
        """Create what is missing: folders, passwords, Airflow's database (or its migration) and pools.

        The home is closed to other accounts, also one that an earlier version has made.

        Raises:
            PipelineError: the home belongs to another account, or Airflow's setup failed.
        """
        for folder in (self.airflow, self.logs, self.passwords_file.parent):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            for folder in (self.path, self.passwords_file.parent):
                folder.chmod(0o700)
        except PermissionError as error:
            raise PipelineError(
                f"{error.filename} belongs to another account, so it cannot be closed to others: set INTENTREC_HOME "
                "to a folder of your own"
            ) from error
        if not self.passwords_file.exists():
            _write_private(self.passwords_file, json.dumps({"admin": secrets.token_urlsafe(12)}))
        if not self.token_secret_file.exists():
            _write_private(self.token_secret_file, secrets.token_urlsafe(64))
        done = self.airflow / ".prepared"
        stamp = f"{version('apache-airflow')} {json.dumps(POOLS, sort_keys=True)}"
        if done.exists() and done.read_text() == stamp:
            return
        pools = self.airflow / "pools.json"
        pools.write_text(json.dumps(POOLS))
        self._airflow("db", "migrate")
        self._airflow("pools", "import", str(pools))
        done.write_text(stamp)

    @property
    def password(self) -> str:
        """The generated password of `admin`, in Airflow and in MLflow."""
        return json.loads(self.passwords_file.read_text())["admin"]

    def mlflow_auth(self) -> Path:
        """Write MLflow's authentication settings and return their file."""
        file = self.passwords_file.with_name("mlflow.ini")
        (self.path / "mlflow").mkdir(parents=True, exist_ok=True)
        lines = [
            "[mlflow]",
            "default_permission = READ",
            f"database_uri = sqlite:///{self.path}/mlflow/users.db",
            "admin_username = admin",
            f"admin_password = {self.password}",
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth",
        ]
        _write_private(file, "\n".join(lines) + "\n")
        return file

    def _airflow(self, *arguments: str) -> None:
        result = subprocess.run(
            [str(BIN / "airflow"), *arguments], env=self.environment(), capture_output=True, text=True, check=False
        )
        if result.returncode:
            log = self.logs / "airflow-setup.log"
            log.write_text(result.stdout + result.stderr)
            raise PipelineError(f"`airflow {' '.join(arguments)}` failed, its output is in {log}")


def _write_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read; a concurrent reader sees the old content or the new."""
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    partial.touch(mode=0o600)
    partial.write_text(text)
    partial.replace(file)
