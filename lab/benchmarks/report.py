"""`benchmarks.json` and `benchmarks.md` in lab/results: a section per benchmark, each written by its own command.

Every section says which machine and which code it was measured with.
"""

import importlib
import json
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import torch

from intentrec.config import ROOT
from intentrec.reports import templates
from intentrec.reports.markdown import Markdown

RESULTS = ROOT / "lab" / "results"
# Section of the page -> the module whose `values` turns its results into what the template shows.
SECTIONS = {
    "published": "lab.benchmarks.published",
    "speed": "lab.benchmarks.speed.report",
    "cost": "lab.benchmarks.cost",
    "served": "lab.benchmarks.served",
    "gpu": "lab.benchmarks.gpu",
    "predictability": "lab.benchmarks.predictability",
}


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


def stored(section: str, folder: Path = RESULTS) -> dict[str, Any]:
    """The results of a section as they stand; empty if there are none."""
    return _content(folder).get(section, {})


def publish(section: str, results: dict[str, Any], folder: Path = RESULTS) -> str:
    """Replace the results of a section, write both files, and return the page."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {**_content(folder), section: results}
    page = render(content)
    (folder / "benchmarks.json").write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (folder / "benchmarks.md").write_text(page, encoding="utf-8")
    return page


def render(content: dict[str, Any]) -> str:
    """The page with the sections that have results."""
    sections = {
        name: importlib.import_module(module).values(content[name]) if name in content else None
        for name, module in SECTIONS.items()
    }
    measured = {name: _measured(content[name]["code"]) for name in SECTIONS if "code" in content.get(name, {})}
    text = templates.render("benchmarks.md.jinja", "lab.benchmarks", **sections, results=content, measured=measured)
    return text.rstrip("\n") + "\n"


def _measured(about: dict[str, Any]) -> Markdown:
    """When a section was measured, and with which code."""
    changed = " with uncommitted changes" if about["changed"] else ""
    return Markdown(f"{about['measured']}, commit `{about['commit'][:12]}`{changed}")


def _content(folder: Path) -> dict[str, Any]:
    path = folder / "benchmarks.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
