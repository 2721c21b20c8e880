"""The options that a job takes from the command of a DAG's task."""

import importlib
import shlex
from collections.abc import Mapping
from types import SimpleNamespace

import typer

from intentrec.entry import application

# What a DAG file must not import: it is parsed every half minute.
HEAVY = {"pyspark", "delta", "deltalake", "torch", "mlflow", "pandas", "numpy", "pyarrow", "great_expectations"}


def words_of(command: str, environment: Mapping[str, str]) -> list[str]:
    """The words of a command as Bash passes them on; each variable of the environment stands as "$NAME" in it."""
    for name, value in environment.items():
        command = command.replace(f'"${name}"', shlex.quote(value))
    return shlex.split(command)


def arguments_of(words: list[str]) -> tuple[str, SimpleNamespace]:
    """Job and options that `python -m jobs.<job> ...` is run with, from the job's own command line."""
    module = importlib.import_module(words[2])
    name = words[2].removeprefix("jobs.")
    context = typer.main.get_command(application(getattr(module, name), module.__doc__)).make_context(name, words[3:])
    return name, SimpleNamespace(**context.params)
