"""What `make setup` installs is locked by version and hash."""

import re

import pytest

from intentrec.config import ROOT

LOCKED = re.compile(r"[a-z0-9][a-z0-9._-]*==[^\s\\]+( \\\n    --hash=sha256:[0-9a-f]{64})+")


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-uv.lock"])
def test_every_package_has_a_version_and_hashes(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    entries = re.split(r"\n(?=\S)", text.strip())
    assert [entry for entry in entries if not LOCKED.fullmatch(entry)] == []
    assert "://" not in text


def test_make_installs_nothing_without_a_hash() -> None:
    recipe = (ROOT / "Makefile").read_text("utf-8").partition("$(READY):")[2].partition("\n\n")[0]
    installs = [line for line in recipe.splitlines() if " install " in line or " sync " in line]
    assert len(installs) == 3
    for line in installs:
        # The project itself: nothing is fetched for it, neither a dependency nor what builds it.
        assert "--require-hashes" in line or {"--no-deps", "--no-build-isolation"} <= set(line.split())
