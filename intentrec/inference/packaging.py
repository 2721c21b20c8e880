"""What a registered model takes along, so that it can be served without a checkout: its code and its packages.

The pipeline itself does not use this copy: gate and publication load the model's files with the code of the checkout,
which reads every earlier format (`intentrec.model.formats`).
"""

import shutil
from importlib.metadata import version
from pathlib import Path

import intentrec

# Imported when a model is loaded and predicts. tzdata: a slim machine has no time zones.
PACKAGES = ("mlflow", "numpy", "pandas", "pyarrow", "safetensors", "torch", "deltalake", "tzdata")
# `pyfunc` and every module of the package that it needs.
CODE = (
    "__init__.py",
    "errors.py",
    "inference/__init__.py",
    "inference/by_class.py",
    "inference/columns.py",
    "inference/distinctive.py",
    "inference/lists.py",
    "inference/predictor.py",
    "inference/pyfunc.py",
    "inference/scorer.py",
    "model/*.py",
    "storage/__init__.py",
    "storage/delta_folder.py",
    "training/__init__.py",
    "training/batches.py",
    "training/checkpoint.py",
)


def requirements() -> list[str]:
    """Packages that the model needs, at the installed versions.

    The local part of a version, as in 2.9.0+cpu, is left out: package indices do not have it.
    """
    return [f"{name}=={version(name).partition('+')[0]}" for name in PACKAGES]


def copy_code(folder: Path) -> Path:
    """Copy the modules of CODE below `folder`, and return the package's folder there."""
    root, package = Path(intentrec.__file__).parent, folder / "intentrec"
    for path in (path for pattern in CODE for path in root.glob(pattern)):
        target = package / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return package
