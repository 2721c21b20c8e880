"""The direction of imports: every package may import only the packages below it.

The test reads the sources and runs none of them. All imports count, also those inside functions and those for type
checkers.
"""

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

import pytest

from intentrec.config import ROOT

# Packages and modules of intentrec, lowest first. Those of one line may import each other, but not in a circle.
LAYERS = (
    ("config", "contracts", "calendar", "errors", "logging", "job_settings", "raw_rows"),
    ("storage",),
    ("sources",),
    ("events",),
    ("interactions",),
    ("sequences",),
    ("model",),
    ("training",),
    ("inference",),
    ("evaluation",),
    ("registry",),
    ("monitoring",),
    ("reports",),
    ("local",),
    ("entry", "cli"),
)
HEIGHT = {name: height for height, layer in enumerate(LAYERS) for name in layer}
FOLDERS = ("intentrec", "jobs", "lab", "simulator", "dags", "tests")
# What a folder may not import of the others.
CLOSED = {
    "intentrec": {"jobs", "lab", "simulator", "dags", "tests"},
    "jobs": {"lab", "simulator", "dags", "tests"},
    "lab": {"jobs", "dags", "tests"},
}
SIMULATOR_MAY = {"intentrec.config", "intentrec.calendar"}
MODEL_MAY = {"torch", "numpy", "pyarrow", "safetensors"}
DAGS_MAY = {"airflow"}
# Modules of jobs that build tables with Spark and need neither the model nor its registry.
TABLE_JOBS = ("jobs.ingest", "jobs.build_interactions", "jobs.build_sequences")
MODEL_LIBRARIES = ("torch", "mlflow")


@dataclass(frozen=True)
class Import:
    """One import: the module that holds it, what it imports (a dotted name), and where it stands."""

    importer: str
    imported: str
    place: str

    def __str__(self) -> str:
        return f"{self.place}: {self.importer} imports {self.imported}"


def imports_of(root: Path) -> list[Import]:
    """All imports of the modules in FOLDERS below `root`."""
    paths = {module_of(path.relative_to(root)): path for folder in FOLDERS for path in (root / folder).rglob("*.py")}
    found = []
    for module, path in paths.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
            for name in imported_names(node, module, path.name == "__init__.py", paths.keys()):
                found.append(Import(module, name, f"{path.relative_to(root)}:{node.lineno}"))  # type: ignore[attr-defined]
    return found


def module_of(path: Path) -> str:
    """Dotted name of the module in a file whose path is relative to the project."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_names(node: ast.AST, module: str, is_package: bool, known: Iterable[str]) -> Iterator[str]:
    """Dotted names that a statement imports: a module where the name is one, else the module that holds it."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parts = module.split(".") if is_package else module.split(".")[:-1]
            parents = parts[: len(parts) - node.level + 1]
            base = ".".join([*parents, *filter(None, [node.module])])
        yield from {full if (full := f"{base}.{alias.name}") in known else base for alias in node.names}


def package_of(module: str) -> str | None:
    """Name in LAYERS of a module of intentrec; None of other modules and of `intentrec` itself."""
    parts = module.split(".")
    return parts[1] if parts[0] == "intentrec" and len(parts) > 1 else None


def top(name: str) -> str:
    """First part of a dotted name."""
    return name.split(".")[0]


def upward(imports: Iterable[Import]) -> list[str]:
    """Imports of a package that stands higher than the importer's, and modules that no layer names."""
    found = []
    for each in imports:
        importer, imported = package_of(each.importer), package_of(each.imported)
        if importer is not None and importer not in HEIGHT:
            found.append(f"{each.place}: {importer} is in no layer")
        elif importer and imported and HEIGHT.get(imported, len(LAYERS)) > HEIGHT[importer]:
            found.append(str(each))
    return sorted(set(found))


def circle(imports: Iterable[Import]) -> list[str]:
    """The imports of one circle among modules; none where there is no circle. Fixtures of tests may form one."""
    edges = {(each.importer, each.imported): each for each in imports if top(each.importer) != "tests"}
    modules = {importer for importer, _ in edges}
    graph: dict[str, set[str]] = {}
    for importer, imported in edges:
        if imported in modules:
            graph.setdefault(importer, set()).add(imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        chain = error.args[1]  # each module is imported by the next one
        return [str(edges[later, earlier]) for earlier, later in pairwise(chain)]
    return []


def between_folders(imports: Iterable[Import]) -> list[str]:
    """Imports of a folder that the importer's folder must not know."""
    found = []
    for each in imports:
        folder, imported = top(each.importer), top(each.imported)
        if folder == "simulator":
            foreign = imported in FOLDERS and imported != "simulator" and each.imported not in SIMULATOR_MAY
        else:
            foreign = imported in CLOSED.get(folder, ())
        if foreign:
            found.append(str(each))
    return found


def beside(imports: Iterable[Import], part: str, allowed: set[str]) -> list[str]:
    """Imports of a part of the project that are neither its own, nor of the standard library, nor allowed."""
    own = [each for each in imports if f"{each.importer}.".startswith(f"{part}.")]
    assert own, f"{part} imports nothing: has it moved?"
    known = allowed | sys.stdlib_module_names
    return [str(each) for each in own if top(each.imported) not in known and not f"{each.imported}.".startswith(part)]


def delta_readers(imports: Iterable[Import]) -> list[str]:
    """Imports of delta-rs outside intentrec.storage. Tests may write and read tables by another way than the code."""
    return [
        str(each)
        for each in imports
        if top(each.imported) == "deltalake"
        and not each.importer.startswith("intentrec.storage.")
        and (top(each.importer) != "tests" or each.importer.startswith("tests.chaos."))
    ]


def none(found: list[str]) -> None:
    """Fail with the imports that break a rule, one a line."""
    assert not found, "\n".join(found)


@pytest.fixture(scope="module")
def imports() -> list[Import]:
    return imports_of(ROOT)


def test_packages_import_only_packages_below_them(imports: list[Import]) -> None:
    none(upward(imports))


def test_no_modules_import_each_other_in_a_circle(imports: list[Import]) -> None:
    none(circle(imports))


def test_the_package_and_its_jobs_know_no_other_folder(imports: list[Import]) -> None:
    none(between_folders(imports))


def test_delta_rs_is_used_in_storage_only(imports: list[Import]) -> None:
    none(delta_readers(imports))


def test_the_model_needs_torch_numpy_and_pyarrow_only(imports: list[Import]) -> None:
    none(beside(imports, "intentrec.model", MODEL_MAY))


def test_dags_need_airflow_only(imports: list[Import]) -> None:
    none(beside(imports, "dags", DAGS_MAY))


def test_building_and_committing_tables_loads_no_model_library() -> None:
    """Nor does the run page, which every job renders when it ends."""
    names = ", ".join(("intentrec.storage.warehouse", "intentrec.reports.run_page", *TABLE_JOBS))
    check = f"import sys, {names}; print(*sorted(set({MODEL_LIBRARIES}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


# The rules on small projects that break them


def project(root: Path, **files: str) -> list[Import]:
    """Imports of a project made of these files; `__` in a name stands for the folder's slash."""
    for name, text in files.items():
        path = root / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return imports_of(root)


@pytest.mark.parametrize(
    "text",
    [
        "from intentrec.reports import run_page\n",
        "import intentrec.reports.run_page\n",
        "from ..reports.run_page import html\n",
        "def late():\n    from intentrec.reports import run_page\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from intentrec.reports.run_page import html\n",
    ],
    ids=["from", "import", "relative", "late", "for type checkers"],
)
def test_an_import_upwards_is_found_with_its_line(tmp_path: Path, text: str) -> None:
    found = upward(project(tmp_path, intentrec__storage__audit=text, intentrec__reports__run_page=""))
    line = text.count("\n")
    assert found == [
        f"intentrec/storage/audit.py:{line}: intentrec.storage.audit imports intentrec.reports.run_page",
    ]


def test_imports_downwards_and_unknown_packages(tmp_path: Path) -> None:
    good = {"intentrec__reports__run_page": "from intentrec.storage import audit\n", "intentrec__storage__audit": ""}
    assert upward(project(tmp_path, **good)) == []
    found = upward(project(tmp_path, intentrec__attic__old="import json\n"))
    assert found == ["intentrec/attic/old.py:1: attic is in no layer"]


def test_a_circle_is_found_with_its_lines(tmp_path: Path) -> None:
    files = {
        "intentrec__model__a": "from intentrec.model import b\n",
        "intentrec__model__b": "import math\nfrom intentrec.model.c import name\n",
        "intentrec__model__c": "def late():\n    import intentrec.model.a\n",
    }
    assert sorted(circle(project(tmp_path, **files))) == [
        "intentrec/model/a.py:1: intentrec.model.a imports intentrec.model.b",
        "intentrec/model/b.py:2: intentrec.model.b imports intentrec.model.c",
        "intentrec/model/c.py:2: intentrec.model.c imports intentrec.model.a",
    ]
    (tmp_path / "intentrec/model/c.py").write_text("name = 1\n")
    assert circle(imports_of(tmp_path)) == []


def test_forbidden_folders_and_libraries_are_found(tmp_path: Path) -> None:
    files = {
        "intentrec__cli": "import simulator\n",
        "intentrec__model__network": "import torch\nimport pandas\nfrom intentrec.config import seconds\n",
        "intentrec__config": "import json\n",
        "jobs__train": "from lab.baselines import build\nimport intentrec.cli\n",
        "simulator__run": "from intentrec.calendar import WEEK\nfrom intentrec.errors import PipelineError\n",
        "lab__study": "import simulator.run\nimport deltalake\n",
        "dags__weekly": "import json\nfrom airflow.sdk import DAG\nimport intentrec.config\n",
        "tests__test_delta": "import deltalake\n",
        "tests__chaos__faults": "from deltalake import DeltaTable\n",
    }
    imports = project(tmp_path, **files)
    assert [text.split(":")[0] for text in sorted(between_folders(imports))] == [
        "intentrec/cli.py",
        "jobs/train.py",
        "simulator/run.py",
    ]
    assert [text.split(":")[0] for text in sorted(delta_readers(imports))] == ["lab/study.py", "tests/chaos/faults.py"]
    assert [text.split(": ")[0] for text in beside(imports, "intentrec.model", MODEL_MAY)] == [
        "intentrec/model/network.py:2",
        "intentrec/model/network.py:3",
    ]
    assert [text.split(": ")[0] for text in beside(imports, "dags", DAGS_MAY)] == ["dags/weekly.py:3"]
