"""The command line. typer and rich live only in this package."""


def main() -> None:
    """Entry point of the `hdrvid` console script."""
    raise SystemExit("not built yet")
