"""The command of the studies: `python -m lab.studies NAME`."""

import sys
from typing import Annotated

import typer

from intentrec.errors import PipelineError
from lab.studies import main as studies

app = typer.Typer(add_completion=False)


@app.command()
def main(
    name: Annotated[str, typer.Argument(help="a file of conf/studies, without its ending")],
    system: Annotated[list[str] | None, typer.Option(help="train only this system now; may be repeated")] = None,
    timing_only: Annotated[
        bool, typer.Option("--timing-only", help="only time an epoch of all that is trained")
    ] = False,
    page_only: Annotated[bool, typer.Option("--page-only", help="only write the page, from the stored values")] = False,
) -> None:
    """Make the paper's tables for a data set. After an interruption the command continues."""
    if sum([bool(system), timing_only, page_only]) > 1:
        raise typer.BadParameter("--system, --timing-only and --page-only exclude each other")
    try:
        if page_only:
            studies.only_page(name)
        elif timing_only:
            studies.only_timing(name)
        else:
            studies.whole_study(name, system or [])
    except PipelineError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from error


if __name__ == "__main__":
    app()
