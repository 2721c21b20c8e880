"""The calls of Airflow's REST API that the backfill and the services need."""

import time
from http import HTTPStatus
from typing import Any

import httpx

from intentrec.errors import PipelineError
from intentrec.local.home import Home

PARTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")
TIMEOUT = 120  # seconds for an answer: a busy machine is slow


class Airflow:
    """A client of the local Airflow's API server, logged in as `admin`."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self._token: str | None = None

    def healthy(self) -> bool:
        """Whether every part of Airflow is healthy."""
        try:
            health = self._send("GET", "/api/v2/monitor/health")
        except (httpx.HTTPError, ValueError):
            return False
        return all(health[part]["status"] == "healthy" for part in PARTS)

    def call(self, method: str, path: str, body: dict | None = None) -> dict:
        """Call /api/v2`path`, and return the JSON object of the response.

        Args:
            method: GET, POST, PUT or PATCH.
            path: path and query below /api/v2.
            body: JSON object of the request.

        Raises:
            PipelineError: the server refused (the message has its response) or does not respond.
        """
        try:
            return self._logged_in(method, f"/api/v2{path}", body)
        except httpx.HTTPStatusError as error:
            text = error.response.text[:500]
            raise PipelineError(f"Airflow refused {method} {path}: {error.response.status_code} {text}") from error
        except httpx.HTTPError as error:
            raise PipelineError(
                f"Airflow at {self.home.airflow_url} did not answer {method} {path}: {error}. Its logs are in "
                f"{self.home.logs}"
            ) from error

    def call_until(
        self, refusal: HTTPStatus, method: str, path: str, body: dict | None = None, patience: float = 120
    ) -> dict:
        """`call`, repeated while the server refuses with the status `refusal`.

        Args:
            refusal: the status.
            method: as for `call`.
            path: as for `call`.
            body: as for `call`.
            patience: seconds after which it gives up.

        Raises:
            PipelineError: the server refused with another status, or with this one for `patience` seconds.
        """
        until = time.monotonic() + patience
        while True:
            try:
                return self.call(method, path, body)
            except PipelineError as error:
                cause = error.__cause__
                again = isinstance(cause, httpx.HTTPStatusError) and cause.response.status_code == refusal
                if not again or time.monotonic() > until:
                    raise
            time.sleep(1)

    def dag(self, name: str) -> dict:
        """A DAG as the server describes it. Waits until the server has read its file.

        Raises:
            PipelineError: the server does not know it within two minutes.
        """
        return self.call_until(HTTPStatus.NOT_FOUND, "GET", f"/dags/{name}")

    def _logged_in(self, method: str, path: str, body: dict | None) -> Any:
        """Send with a token. It is valid for an hour and a backfill takes longer, so a refused token is replaced."""
        if self._token is not None:
            try:
                return self._send(method, path, body)
            except httpx.HTTPStatusError as error:
                if error.response.status_code != HTTPStatus.UNAUTHORIZED:
                    raise
        self._token = None
        credentials = {"username": "admin", "password": self.home.password}
        self._token = self._send("POST", "/auth/token/cli", credentials)["access_token"]
        return self._send(method, path, body)

    def _send(self, method: str, path: str, body: dict | None = None) -> Any:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        url = self.home.airflow_url + path
        # The server is on this machine: a proxy of the environment does not apply.
        answer = httpx.request(method, url, json=body, headers=headers, timeout=TIMEOUT, trust_env=False)
        answer.raise_for_status()
        return answer.json() if answer.content else {}
