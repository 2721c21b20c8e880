"""The documentation: links lead somewhere, commands exist, and pages stay short enough to be read."""

import re
import runpy
import subprocess
from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import BaseModel

from intentrec.config import Domain, Profile
from intentrec.interactions.rules import TITLE_SCOPE, USER_SCOPE
from intentrec.interactions.visits import BEFORE_LABELS

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
LONGEST = {"README.md": 150, "docs/evidence.md": 200, "docs/evidence-paper.md": 200, "docs/glossary.md": 85}


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


def test_pages_of_keys_and_tables_are_those_of_the_code() -> None:
    made, why = runpy.run_path(str(ROOT / "docs" / "tables.py")), "run `python docs/tables.py`"
    for page in ("fields", "configuration", "tables", "refusals"):
        assert (ROOT / f"docs/{page}.md").read_text("utf-8") == made[page](), why


def test_every_refusal_names_a_test_that_exists() -> None:
    entries = [
        entry
        for section in yaml.safe_load((ROOT / "docs/refusals.yaml").read_text("utf-8"))
        for entry in section["entries"]
    ]
    assert entries
    for entry in entries:
        file, _, function = entry["test"].partition("::")
        assert f"def {function}(" in (ROOT / file).read_text("utf-8"), f"{entry['test']} does not exist"


@pytest.mark.parametrize("schema", [Domain, Profile])
def test_every_key_says_what_it_means(schema: type[BaseModel]) -> None:
    for name, field in schema.model_fields.items():
        inside = [each for each in (field.annotation, *get_args(field.annotation)) if issubclass_of(each, BaseModel)]
        for section in inside:
            test_every_key_says_what_it_means(section)
        assert field.description or inside, f"{schema.__name__}.{name} has no description"


def issubclass_of(found: object, base: type) -> bool:
    return isinstance(found, type) and issubclass(found, base)


def test_the_columns_that_rules_see_are_listed() -> None:
    page = (ROOT / "docs/bring-your-own-data.md").read_text("utf-8")
    listed = set(re.findall(r"`([rsu]\.[a-z_]+)`", page))
    seen = {"r": (*BEFORE_LABELS, "first_item_id"), "s": TITLE_SCOPE.names, "u": USER_SCOPE.names}
    assert {f"{scope}.{name}" for scope, names in seen.items() for name in names} == listed - {"r.n_", "r.n_play"}
