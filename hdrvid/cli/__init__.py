"""The command line. typer and rich live only in this package.

Exit codes: 0 done, 1 bad input or failure, 2 usage, 130 interrupted, 143 terminated.
Results go to stdout; progress, warnings and errors to stderr.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from hdrvid.compiled.vectors import OWN_PROCESS


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point of the `hdrvid` console script; `arguments` default to those of the process. Always exits."""
    try:
        code = _run(arguments)
    except KeyboardInterrupt:  # before the signals are handled, or after
        code = 130
        os.write(2, b"hdrvid: interrupted\n")
    # CPython keeps in mind that a KeyboardInterrupt left the `exec` of a text, as dataclasses have it done, and would
    # end `python -m hdrvid` by SIGINT, whatever the code is; the next `exec` makes it forget
    exec("")
    raise SystemExit(code)


def _run(arguments: Sequence[str] | None) -> int:
    _open_standard_streams()
    if arguments is None:
        os.environ[OWN_PROCESS] = "1"
    from hdrvid.cli.console import exit_code_of, flush_stdout, signals_as_exceptions

    with signals_as_exceptions(restore=arguments is not None):
        try:
            from hdrvid.cli.app import run

            code = run(arguments)
        except BaseException as error:  # an import was interrupted, or had too little memory
            code = exit_code_of(error)
        return flush_stdout(code)


def _open_standard_streams() -> None:
    """Open the null device for standard streams that are closed: a file of results must not get their numbers."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))
