"""The third-party notices name every package that the project asks for."""

import re
import tomllib

from intentrec.config import ROOT


def test_every_direct_dependency_has_its_license() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = project["dependencies"] + [each for group in project["optional-dependencies"].values() for each in group]
    names = {re.split(r"[^\w.-]", requirement)[0].lower() for requirement in wanted}
    packages = (ROOT / "THIRD_PARTY_NOTICES.md").read_text("utf-8").split("## Data sets")[0]
    listed = re.findall(r"^\| ([\w.-]+) \|", packages, re.MULTILINE)
    assert {name.lower() for name in listed} - {"package", "---"} == names
    assert "Apache License" in (ROOT / "LICENSE").read_text("utf-8")
