"""The loss of many targets over a large catalogue, in a process of its own: how much memory it takes at its peak.

Run as `python -m tests.model.scale TITLES TARGETS`: prints megabytes beyond parameters and gradients, and seconds.
"""

import re
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from intentrec.model.features import Items
from intentrec.model.intentrec import IntentRec
from intentrec.model.loss import LossSettings
from intentrec.model.vocabulary import FIRST, Vocabulary
from tests.model import world

TOKENS = {"creator": 1000, "genres": 20, "kind": 4, "action_type": 11, "surface": 5}


def megabytes(key: str) -> float:
    """A line of this process's status."""
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024


def main(titles: int, targets: int) -> None:
    """Forward and backward once, metadata tower included."""
    torch.manual_seed(0)
    spec = replace(world.spec("v0"), dim=64)
    known = {name: tuple(f"{name}{i}" for i in range(size)) for name, size in TOKENS.items()}
    vocabulary = Vocabulary(
        tuple(map(str, range(titles))), titles, known, dict.fromkeys(("duration_s", "release_age_days"), (0.0, 1.0))
    )
    model = IntentRec(spec, vocabulary)
    facts = {
        "creator": torch.randint(FIRST, FIRST + 1000, (titles,)),
        "genres": torch.randint(FIRST, FIRST + 20, (titles, 3)),
        "kind": torch.randint(FIRST, FIRST + 4, (titles,)),
    }
    catalog = Items(torch.arange(FIRST, FIRST + titles), facts)
    h_ND = torch.randn(targets, 64, requires_grad=True)
    title_N, weight_N = torch.randint(titles, (targets,)), torch.rand(targets)
    week_N = torch.zeros_like(title_N)
    few = catalog.map(lambda value: value[:50])
    model.title_loss(h_ND[:2], None, title_N[:2] % 50, weight_N[:2], few, LossSettings(), week_N[:2])
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the preparations
    before, clock = megabytes("VmRSS"), time.monotonic()
    model.title_loss(h_ND, None, title_N, weight_N, catalog, LossSettings(), week_N).backward()
    seconds, peak = time.monotonic() - clock, megabytes("VmHWM")
    used = [p for p in (h_ND, *model.parameters()) if p.grad is not None]
    assert all(bool(p.grad.isfinite().all()) and bool(p.grad.any()) for p in used)
    gradients = sum(p.grad.nbytes for p in used) / 2**20
    print(f"{peak - before - gradients:.0f} {seconds:.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
