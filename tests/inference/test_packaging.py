"""The code and the packages that a registered model takes along."""

import ast
import sys
from importlib import metadata
from pathlib import Path

from intentrec.inference import packaging


def imports_of(path: Path) -> set[str]:
    """Dotted names of the modules that a file imports, wherever the import stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_the_code_of_a_model_imports_itself_and_the_packages_that_it_names(tmp_path: Path) -> None:
    """Lists the imports that neither the copy nor `PACKAGES` has. So neither Spark nor pydantic is needed."""
    package = packaging.copy_code(tmp_path)
    copied = {path.relative_to(tmp_path).with_suffix("").as_posix().replace("/", ".") for path in package.rglob("*.py")}
    modules = {name.removesuffix(".__init__") for name in copied}
    assert "intentrec.inference.pyfunc" in modules
    known = sys.stdlib_module_names | set(packaging.PACKAGES)
    missing = set()
    for path in package.rglob("*.py"):
        for name in imports_of(path):
            own = name in modules or name.rpartition(".")[0] in modules
            if name.split(".")[0] not in known and not own:
                missing.add(f"{path.relative_to(package)}: {name}")
    assert missing - FITTING == set()


# Imported inside functions that fit clusters, which a served model never calls.
FITTING = {
    "inference/scorer.py: sklearn.cluster",
    "inference/scorer.py: sklearn.cluster.KMeans",
    "inference/scorer.py: threadpoolctl",
    "inference/scorer.py: threadpoolctl.threadpool_limits",
}


def test_versions_of_packages_are_those_that_an_index_has() -> None:
    found = dict(line.split("==") for line in packaging.requirements())
    assert found.keys() == set(packaging.PACKAGES)
    assert all("+" not in version for version in found.values())
    assert metadata.version("torch").startswith(found["torch"])
