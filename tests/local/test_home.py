"""Folders, passwords and settings of the embedded services."""

import configparser
import json
import stat
from pathlib import Path

import pytest

from intentrec.local import home as homes
from intentrec.local.home import Home


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Home, list[tuple[str, ...]]]:
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(Home, "_airflow", lambda self, *arguments: calls.append(arguments))
    home = Home(tmp_path / "home", 8181, 5151)
    home.prepare()
    return home, calls


def test_passwords_are_random_private_and_kept(prepared: tuple[Home, list], tmp_path: Path) -> None:
    home, _ = prepared
    password = home.password
    assert len(password) >= 16
    assert stat.S_IMODE(home.passwords_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.passwords_file.parent.stat().st_mode) == 0o700
    secret = home.token_secret_file.read_text()
    assert len(secret) >= 64
    assert stat.S_IMODE(home.token_secret_file.stat().st_mode) == 0o600
    assert secret not in json.dumps(home.environment())
    home.prepare()
    assert (home.password, home.token_secret_file.read_text()) == (password, secret)
    other = Home(tmp_path / "other")
    other.prepare()
    assert other.password != password


def test_the_home_is_closed_to_other_accounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a home that an earlier version left open; and Airflow is told not to open its logs."""
    monkeypatch.setattr(Home, "_airflow", lambda self, *arguments: None)
    home = Home(tmp_path / "home")
    home.path.mkdir(mode=0o755)
    home.prepare()
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
    settings = home.environment()
    assert settings["AIRFLOW__LOGGING__FILE_TASK_HANDLER_NEW_FOLDER_PERMISSIONS"] == "0o700"
    assert settings["AIRFLOW__LOGGING__FILE_TASK_HANDLER_NEW_FILE_PERMISSIONS"] == "0o600"


def test_a_home_of_another_account_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr(Path, "chmod", denied)
    with pytest.raises(homes.PipelineError, match=rf"^{tmp_path} belongs to another account.* set INTENTREC_HOME"):
        Home(tmp_path).prepare()


def test_the_database_is_migrated_and_pools_made_once(prepared: tuple[Home, list]) -> None:
    home, calls = prepared
    home.prepare()
    assert [call[:2] for call in calls] == [("db", "migrate"), ("pools", "import")]
    assert set(json.loads(Path(calls[1][2]).read_text())) == {"warehouse", "gpu"}


def test_settings_stay_inside_the_home_and_on_loopback(prepared: tuple[Home, list]) -> None:
    home, _ = prepared
    settings = home.environment(SCHEDULER__USE_JOB_SCHEDULE="False")
    assert settings["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] == f"sqlite:///{home.path}/airflow/airflow.db?timeout=60"
    assert settings["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert settings["AIRFLOW__API__BASE_URL"] == "http://127.0.0.1:8181"
    assert settings["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:8181/execution/"
    assert settings["AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE"] == "False"
    assert home.password not in json.dumps(settings)


def test_mlflow_takes_the_same_password(prepared: tuple[Home, list]) -> None:
    home, _ = prepared
    file = home.mlflow_auth()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(file)
    assert settings["mlflow"]["admin_password"] == home.password


def test_a_failed_setup_says_where_its_output_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "airflow"
    tool.write_text("#!/bin/sh\necho no room left >&2\nexit 3\n")
    tool.chmod(0o755)
    monkeypatch.setattr(homes, "BIN", tmp_path)
    home = Home(tmp_path / "home")
    with pytest.raises(homes.PipelineError, match="airflow db migrate") as failure:
        home.prepare()
    assert "no room left" in Path(str(failure.value).split()[-1]).read_text()
