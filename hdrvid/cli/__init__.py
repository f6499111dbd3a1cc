"""The command line. typer and rich live only in this package.

Exit codes: 0 done, 1 bad input or failure, 2 usage, 130 interrupted, 143 terminated.
Results go to stdout; progress, warnings and errors to stderr.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point of the `hdrvid` console script; `arguments` default to those of the process. Always exits."""
    try:
        from hdrvid.cli.app import run

        code = run(arguments)
    except KeyboardInterrupt as error:  # before or after the command itself
        from hdrvid.cli.console import exit_code_of

        code = exit_code_of(error)
    raise SystemExit(code)
