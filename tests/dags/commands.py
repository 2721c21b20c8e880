"""The options that a job takes from the command of a DAG's task."""

import importlib
from types import SimpleNamespace

import typer

from intentrec.entry import application

# What a DAG file must not import: it is parsed every half minute.
HEAVY = {"pyspark", "delta", "deltalake", "torch", "mlflow", "pandas", "numpy", "pyarrow", "great_expectations"}


def arguments_of(words: list[str]) -> tuple[str, SimpleNamespace]:
    """Job and options that `python -m jobs.<job> ...` is run with, from the job's own command line."""
    module = importlib.import_module(words[2])
    name = words[2].removeprefix("jobs.")
    context = typer.main.get_command(application(getattr(module, name), module.__doc__)).make_context(name, words[3:])
    return name, SimpleNamespace(**context.params)
