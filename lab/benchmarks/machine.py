"""Which machine, which code: what a measured figure is worth nothing without."""

import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import torch

from intentrec.config import ROOT


def machine() -> dict[str, Any]:
    """Processor, cores, memory, GPU and versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": len(psutil.Process().cpu_affinity()),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def code() -> dict[str, Any]:
    """The commit, whether the tracked files differ from it, and the moment."""
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True).stdout.strip()
    return {"commit": commit, "changed": bool(changed), "measured": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"}


def made_by(command: str, made: dict[str, Any]) -> str:
    """How a page's figures were made, as the beginning of a sentence; `made` is what `code` said then."""
    return (
        f"Made by `{command}` on {made['measured']}, commit `{made['commit'][:12]}`"
        f"{', with uncommitted changes' if made['changed'] else ''}"
    )
