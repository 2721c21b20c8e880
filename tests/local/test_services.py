"""The components of Airflow: which are started, and with what."""

from pathlib import Path

import pytest

from intentrec.local import processes, services
from intentrec.local.home import Home


def test_no_component_serves_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scheduler and triggerer would serve them on every interface of the machine."""
    started: list[tuple[list[str], str]] = []
    monkeypatch.setattr(processes, "start", lambda command, _, marker, log: started.append((command[1:], marker)))
    services.start_airflow(Home(tmp_path), "a marker")
    assert sorted(command for command, _ in started) == [
        ["api-server"],
        ["dag-processor"],
        ["scheduler", "--skip-serve-logs"],
        ["triggerer", "--skip-serve-logs"],
    ]
    assert {marker for _, marker in started} == {"a marker"}
