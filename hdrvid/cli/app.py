"""The `hdrvid` command: its sub-commands and the one place where errors become messages and exit codes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from hdrvid import __version__
from hdrvid.cli import bench, evaluate, info, reconstruct, report, synth, train
from hdrvid.cli.console import (
    check_arguments,
    exit_code_of,
    interruptible,
    leave_unterminated,
    signals_as_exceptions,
    use_compiler,
)
from hdrvid.cli.options import flowing

app = typer.Typer(
    name="hdrvid",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hdrvid {__version__}")
        raise typer.Exit


@app.callback()
def _hdrvid(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """HDR video from a camera that alternates exposures: one scene-linear HDR frame for every input frame."""


app.command("reconstruct", help=flowing(reconstruct.HELP))(interruptible(reconstruct.command))
app.command("info", help=flowing(info.HELP))(interruptible(info.command))
app.command("synth", help=flowing(synth.HELP))(interruptible(synth.command))
app.command("report", help=flowing(report.HELP))(interruptible(report.command))
app.command("train", help=flowing(train.HELP))(interruptible(train.command))
app.command("eval", help=flowing(evaluate.HELP))(interruptible(evaluate.command))
app.command("bench", help=flowing(bench.HELP))(interruptible(bench.command))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; no exception of the program leaves it.

    With the environment variable HDRVID_DEBUG=1 errors are raised instead, for developers.
    """
    with signals_as_exceptions():
        try:
            given = list(sys.argv[1:] if arguments is None else arguments)
            check_arguments(given)
            use_compiler()
            app(args=given, prog_name="hdrvid")
        except SystemExit as leaving:
            return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        except BaseException as error:
            leave_unterminated()
            return exit_code_of(error)
    return 0
