"""The few calls of Airflow's REST API that are needed here."""

import json
import time
import urllib.error
import urllib.request
from http import HTTPStatus
from typing import Any

from intentrec.errors import PipelineError
from intentrec.local.home import Home

PARTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")


class Airflow:
    """A client of the local API server, logged in as `admin`."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self._token: str | None = None

    def healthy(self) -> bool:
        """Whether every part runs."""
        try:
            health = self._send("GET", "/api/v2/monitor/health")
        except (OSError, ValueError):
            return False
        return all(health[part]["status"] == "healthy" for part in PARTS)

    def call(self, method: str, path: str, body: dict | None = None) -> dict:
        """Call /api/v2`path`.

        Raises:
            PipelineError: the server refused (the message holds what it said) or does not answer.
        """
        try:
            return self._logged_in(method, f"/api/v2{path}", body)
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
            raise PipelineError(f"Airflow refused {method} {path}: {error.code} {said[:500]}") from error
        except OSError as error:
            raise PipelineError(
                f"Airflow at {self.home.airflow_url} did not answer {method} {path}: {error}. Its logs are in "
                f"{self.home.logs}"
            ) from error

    def insist(self, status: int, method: str, path: str, body: dict | None = None, patience: float = 120) -> dict:
        """`call`, and call again while the server refuses with `status`.

        Raises:
            PipelineError: it refused with another status, or with this one for `patience` seconds.
        """
        until = time.monotonic() + patience
        while True:
            try:
                return self.call(method, path, body)
            except PipelineError as error:
                refused = error.__cause__
                again = isinstance(refused, urllib.error.HTTPError) and refused.code == status
                if not again or time.monotonic() > until:
                    raise
            time.sleep(1)

    def dag(self, name: str) -> dict:
        """A DAG as the server knows it, once its file was read.

        Raises:
            PipelineError: it is not known within two minutes.
        """
        return self.insist(404, "GET", f"/dags/{name}")

    def _logged_in(self, method: str, path: str, body: dict | None) -> Any:
        """Send with a token, or a new one where that is refused: it is good for an hour, a backfill takes longer."""
        if self._token is not None:
            try:
                return self._send(method, path, body)
            except urllib.error.HTTPError as error:
                if error.code != HTTPStatus.UNAUTHORIZED:
                    raise
        self._token = None
        credentials = {"username": "admin", "password": self.home.password}
        self._token = self._send("POST", "/auth/token/cli", credentials)["access_token"]
        return self._send(method, path, body)

    def _send(self, method: str, path: str, body: dict | None = None) -> Any:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.home.airflow_url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.loads(answer.read() or "{}")
