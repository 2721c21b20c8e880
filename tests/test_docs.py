"""The documentation: links lead somewhere, commands exist, and pages stay short enough to be read."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
LONGEST = {"README.md": 150, "docs/evidence.md": 200, "docs/glossary.md": 80}


def tracked(*patterns: str) -> list[str]:
    """Files of the project that are there, tracked or new."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
    return sorted(name for name in set(found) if name and (ROOT / name).exists())


def anchor(heading: str) -> str:
    """The anchor of a heading as Markdown renderers make it."""
    return re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", heading.strip().lower()))


def broken_links(name: str, text: str) -> list[str]:
    """Relative links of a page whose file or heading does not exist."""
    found = []
    for target in LINK.findall(re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, part = target.partition("#")
        path = (ROOT / name).parent / file if file else ROOT / name
        if not path.exists():
            found.append(f"{name}: {target}: no such file")
        elif part and part not in {anchor(heading) for heading in HEADING.findall(path.read_text("utf-8"))}:
            found.append(f"{name}: {target}: no such heading")
    return found


@pytest.mark.parametrize("name", tracked("*.md"))
def test_links_lead_somewhere(name: str) -> None:
    assert broken_links(name, (ROOT / name).read_text("utf-8")) == []


def test_a_broken_link_is_found() -> None:
    text = "# A\n[x](no-such-file.md) [y](README.md#no-such-heading) [z](#a) [w](https://example.org)\n"
    assert [line.split(": ")[1] for line in broken_links("README.md", text.replace("#a)", "#two-commands)"))] == [
        "no-such-file.md",
        "README.md#no-such-heading",
    ]


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for name in tracked("*.md"):
        text = (ROOT / name).read_text("utf-8")
        named = set(re.findall(r"(?:^|`)make ([a-z][a-z-]*)", text, re.MULTILINE))
        assert named <= targets, f"{name} names make targets that do not exist: {sorted(named - targets)}"


@pytest.mark.parametrize(("name", "lines"), LONGEST.items())
def test_pages_stay_short(name: str, lines: int) -> None:
    assert len((ROOT / name).read_text("utf-8").splitlines()) <= lines


def test_results_stay_few() -> None:
    assert len(tracked("docs", "lab/results")) < 60
