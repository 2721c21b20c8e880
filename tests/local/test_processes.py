"""After a service was stopped, none of its processes is left, whatever their process group."""

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from intentrec.local import processes

# A service whose child leaves its process group and session, as Airflow's tasks do, and renames itself.
SERVICE = (
    "import subprocess, sys, time\n"
    "child = 'import setproctitle, time; setproctitle.setproctitle(\"x\" * 2000); time.sleep(600)'\n"
    "process = subprocess.Popen([sys.executable, '-c', child], start_new_session=True)\n"
    "print(process.pid, flush=True)\n"
    "{then}"
)


def child_of(log: Path) -> psutil.Process:
    until = time.monotonic() + 20
    while not (text := log.read_text()).endswith("\n"):
        assert time.monotonic() < until
        time.sleep(0.05)
    time.sleep(0.5)  # until it is renamed
    return psutil.Process(int(text))


@pytest.mark.parametrize("then", ["time.sleep(600)", "sys.exit()"], ids=["running", "orphaned"])
def test_stop_leaves_nothing(tmp_path: Path, then: str) -> None:
    marker, log = f"test:{tmp_path}", tmp_path / "log"
    service = processes.start([sys.executable, "-c", SERVICE.format(then=then)], dict(os.environ), marker, log)
    child = child_of(log)
    if "exit" in then:
        service.wait()
    assert child in processes.marked(marker)
    assert processes.stop(marker) >= 1
    assert processes.marked(marker) == []
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    assert service.wait() is not None


def test_a_service_has_its_marker_as_soon_as_start_returns(tmp_path: Path) -> None:
    """Without the wait in `start`, about one of a hundred services has no marker yet."""
    for number in range(400):
        marker = f"test:{tmp_path}:{number}"
        service = processes.start(["/bin/sleep", "60"], dict(os.environ), marker, tmp_path / "log")
        seen = psutil.Process(service.pid).environ().get(processes.MARKER)
        service.kill()
        service.wait()
        assert seen == marker


def test_what_a_service_writes_is_for_this_account_only(tmp_path: Path) -> None:
    code = "from pathlib import Path; Path('folder').mkdir(); Path('folder/file').touch()"
    command = [sys.executable, "-c", f"import os; os.chdir({str(tmp_path)!r}); {code}"]
    assert processes.start(command, dict(os.environ), f"test:{tmp_path}", tmp_path / "log").wait() == 0
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("folder", "folder/file")]
    assert modes == [0o700, 0o600]


def test_stop_ends_no_other_process(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        assert processes.stop(f"test:{tmp_path}") == 0
        assert other.poll() is None
    finally:
        processes.stop_tree(other.pid)
    assert not psutil.pid_exists(other.pid)
    processes.stop_tree(other.pid)
