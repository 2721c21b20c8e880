"""Airflow's own `dags test`, several times in one process: Airflow takes ten seconds to start.

    python -m intentrec.local.dags_test DAG DATE CONF [DATE CONF ...]

The first run that fails ends it.
"""

import sys

from airflow.cli import cli_parser


def main(dag: str, *runs: str) -> None:
    """Run `dag` for each pair of a date and a JSON configuration."""
    parser = cli_parser.get_parser()
    for moment, conf in zip(runs[::2], runs[1::2], strict=True):
        arguments = parser.parse_args(["dags", "test", dag, moment, "--conf", conf])
        arguments.func(arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
