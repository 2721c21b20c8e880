"""How the client handles refusals, with a server that refuses."""

import json
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from intentrec.errors import PipelineError
from intentrec.local.airflow_client import Airflow
from intentrec.local.home import Home


class Refusing(BaseHTTPRequestHandler):
    """Sends `answers` in turn, then the last one again and again, and records the requests."""

    answers: list[int]
    asked: list[str]
    logins: int

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.path == "/auth/token/cli":
            Refusing.logins += 1
            return self._answer(201, {"access_token": "x"})
        self.asked.append(body)
        return self._answer(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0], {"id": 7})

    def _answer(self, status: int, body: dict) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def airflow(tmp_path: Path) -> Iterator[Airflow]:
    server = HTTPServer(("127.0.0.1", 0), Refusing)
    Thread(target=server.serve_forever, daemon=True).start()
    home = Home(tmp_path, server.server_port)
    home.passwords_file.parent.mkdir(parents=True)
    home.passwords_file.write_text(json.dumps({"admin": "secret"}))
    Refusing.asked, Refusing.logins = [], 0
    yield Airflow(home)
    server.shutdown()
    server.server_close()


def test_it_calls_again_while_the_server_is_locked(airflow: Airflow) -> None:
    Refusing.answers = [503, 503, 200]
    assert airflow.call_until(HTTPStatus.SERVICE_UNAVAILABLE, "POST", "/backfills", {"dag_id": "d"}) == {"id": 7}
    assert [json.loads(body) for body in Refusing.asked] == [{"dag_id": "d"}] * 3


def test_it_gives_up_after_its_patience(airflow: Airflow) -> None:
    Refusing.answers = [503]
    with pytest.raises(PipelineError, match="refused POST /backfills: 503"):
        airflow.call_until(HTTPStatus.SERVICE_UNAVAILABLE, "POST", "/backfills", {}, patience=1)
    assert len(Refusing.asked) > 1


def test_another_refusal_is_final(airflow: Airflow) -> None:
    Refusing.answers = [409]
    with pytest.raises(PipelineError, match="refused POST /backfills: 409"):
        airflow.call_until(HTTPStatus.SERVICE_UNAVAILABLE, "POST", "/backfills", {})
    assert len(Refusing.asked) == 1


def test_an_expired_token_is_replaced_once(airflow: Airflow) -> None:
    Refusing.answers = [200, 401, 200, 401]
    assert airflow.call("POST", "/backfills", {}) == {"id": 7}
    assert airflow.call("POST", "/backfills", {}) == {"id": 7}, "refused with the old token, taken with a new one"
    assert (len(Refusing.asked), Refusing.logins) == (3, 2)
    with pytest.raises(PipelineError, match="refused POST /backfills: 401"):
        airflow.call("POST", "/backfills", {})
    assert (len(Refusing.asked), Refusing.logins) == (5, 3)


def test_a_server_that_does_not_respond_is_named(tmp_path: Path) -> None:
    home = Home(tmp_path, 9)  # the port of "discard", where nothing listens
    home.passwords_file.parent.mkdir(parents=True)
    home.passwords_file.write_text(json.dumps({"admin": "secret"}))
    with pytest.raises(PipelineError, match=r"127\.0\.0\.1:9 did not answer GET /dags: .*Its logs are in"):
        Airflow(home).call("GET", "/dags")
